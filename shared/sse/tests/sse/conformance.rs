//! Tests each rule of §9.2.6 of the HTML standard, with all ways to cut the stream in two.
//! `cargo test -p gatehouse-sse --test sse conformance -- --nocapture` prints the table.

use bytes::Bytes;
use gatehouse_sse::Reader;

/// A rule, a stream, and the events in it (name, data, last id).
type Case = (&'static str, &'static [u8], &'static [(&'static str, &'static str, &'static str)]);

const CASES: [Case; 34] = [
    ("one line", b"data: a\n\n", &[("", "a", "")]),
    ("lines are joined by LF", b"data: a\ndata: b\n\n", &[("", "a\nb", "")]),
    ("LF ends a line", b"data: a\n\ndata: b\n\n", &[("", "a", ""), ("", "b", "")]),
    ("CR ends a line", b"data: a\r\rdata: b\r\r", &[("", "a", ""), ("", "b", "")]),
    ("CRLF ends one line", b"data: a\r\ndata: b\r\n\r\n", &[("", "a\nb", "")]),
    (
        "line ends may be mixed",
        b"data: a\r\n\ndata: b\n\rdata: c\r\r\n",
        &[("", "a", ""), ("", "b", ""), ("", "c", "")],
    ),
    ("U+2028 does not end a line", "data: a\u{2028}b\n\n".as_bytes(), &[("", "a\u{2028}b", "")]),
    ("U+0085 does not end a line", "data: a\u{85}b\n\n".as_bytes(), &[("", "a\u{85}b", "")]),
    ("one space is dropped", b"data:  a\ndata:b\n\n", &[("", " a\nb", "")]),
    ("a tab is not dropped", b"data:\ta\n\n", &[("", "\ta", "")]),
    ("the first colon ends the field name", b"data: a: b\n\n", &[("", "a: b", "")]),
    ("a field without a colon is empty", b"data\n\n", &[("", "", "")]),
    ("two empty lines of data are one LF", b"data\ndata\n\n", &[("", "\n", "")]),
    ("no data, no event", b"event: x\n\ndata: a\n\n", &[("", "a", "")]),
    ("further blank lines are ignored", b"\n\n\ndata: a\n\n\n\n", &[("", "a", "")]),
    ("a comment is ignored", b": x\ndata: a\n:\n\n", &[("", "a", "")]),
    ("an unknown field is ignored", b"dat: x\ndata: a\ndatas: y\n\n", &[("", "a", "")]),
    ("field names are case-sensitive", b"Data: x\nDATA: y\n\n", &[]),
    ("a space before a name belongs to it", b" data: x\n\n", &[]),
    ("a space after a name belongs to it", b"data : x\n\n", &[]),
    ("event applies to one event", b"event: x\ndata: a\n\ndata: b\n\n", &[("x", "a", ""), ("", "b", "")]),
    ("the last event field applies", b"event: x\nevent: y\ndata: a\n\n", &[("y", "a", "")]),
    ("an empty event field is the default", b"event: x\nevent\ndata: a\n\n", &[("", "a", "")]),
    ("id applies to later events", b"id: 1\ndata: a\n\ndata: b\n\n", &[("", "a", "1"), ("", "b", "1")]),
    ("an empty id resets the id", b"id: 1\ndata: a\n\nid\ndata: b\n\n", &[("", "a", "1"), ("", "b", "")]),
    ("an id with NUL is ignored", b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", &[("", "a", "1"), ("", "b", "1")]),
    ("an id without data is remembered", b"id: 1\n\ndata: a\n\n", &[("", "a", "1")]),
    ("data may contain NUL", b"data: a\0b\n\n", &[("", "a\0b", "")]),
    ("a byte order mark is dropped", b"\xEF\xBB\xBFdata: a\n\n", &[("", "a", "")]),
    ("only one byte order mark is dropped", b"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\ndata: b\n\n", &[("", "b", "")]),
    ("a later byte order mark is data", b"data: a\n\n\xEF\xBB\xBFdata: b\n\n", &[("", "a", "")]),
    ("invalid UTF-8 is replaced", b"data: \xFFa\xE2\x98\n\n", &[("", "\u{fffd}a\u{fffd}", "")]),
    ("a character may be split", "data: ☕👩\n\n".as_bytes(), &[("", "☕👩", "")]),
    ("an unfinished block is not an event", b"data: a\n\ndata: b\n", &[("", "a", "")]),
];

#[test]
fn rules_hold_for_all_chunkings() {
    println!("{:<36} {:>6} {:>6} {:>12}", "rule", "whole", "bytes", "cut in two");
    for (rule, stream, expected) in CASES {
        let read = |chunks: &mut dyn Iterator<Item = &[u8]>| {
            let (mut reader, mut blocks) = (Reader::new(1 << 20), Vec::new());
            for chunk in chunks {
                reader.feed(Bytes::copy_from_slice(chunk));
                while let Some(block) = reader.next_block().unwrap() {
                    blocks.push(block);
                }
            }
            let events = blocks.into_iter().filter_map(|block| block.event);
            let events: Vec<_> = events.map(|event| (event.name, event.data, event.last_event_id)).collect();
            let actual: Vec<_> = events.iter().map(|(name, data, id)| (name.as_str(), data.as_str(), &**id)).collect();
            assert_eq!(actual, expected, "{rule}");
        };
        read(&mut [stream].into_iter());
        read(&mut stream.chunks(1));
        for cut in 1..stream.len() {
            let (head, tail) = stream.split_at(cut);
            read(&mut [head, tail].into_iter());
        }
        println!("{rule:<36} {:>6} {:>6} {:>12}", "ok", "ok", format!("{} ok", stream.len() - 1));
    }
}
