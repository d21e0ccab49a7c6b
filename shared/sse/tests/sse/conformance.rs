//! The rules of the HTML standard's §9.2.6, one by one, in any pieces:
//! `cargo test -p gatehouse-sse --test sse conformance -- --nocapture` prints the table.

use bytes::Bytes;
use gatehouse_sse::Reader;

/// A rule, a stream, and the events in it: name, data, last id.
type Case = (&'static str, &'static [u8], &'static [(&'static str, &'static str, &'static str)]);

const CASES: [Case; 34] = [
    ("one line", b"data: a\n\n", &[("", "a", "")]),
    ("lines are joined by LF", b"data: a\ndata: b\n\n", &[("", "a\nb", "")]),
    ("LF ends a line", b"data: a\n\ndata: b\n\n", &[("", "a", ""), ("", "b", "")]),
    ("CR ends a line", b"data: a\r\rdata: b\r\r", &[("", "a", ""), ("", "b", "")]),
    ("CRLF ends one line", b"data: a\r\ndata: b\r\n\r\n", &[("", "a\nb", "")]),
    ("ends may be mixed", b"data: a\r\n\ndata: b\n\rdata: c\r\r\n", &[("", "a", ""), ("", "b", ""), ("", "c", "")]),
    ("U+2028 ends no line", "data: a\u{2028}b\n\n".as_bytes(), &[("", "a\u{2028}b", "")]),
    ("U+0085 ends no line", "data: a\u{85}b\n\n".as_bytes(), &[("", "a\u{85}b", "")]),
    ("one space is dropped", b"data:  a\ndata:b\n\n", &[("", " a\nb", "")]),
    ("a tab is not dropped", b"data:\ta\n\n", &[("", "\ta", "")]),
    ("the first colon divides", b"data: a: b\n\n", &[("", "a: b", "")]),
    ("a field without a colon is empty", b"data\n\n", &[("", "", "")]),
    ("two empty lines of data are one LF", b"data\ndata\n\n", &[("", "\n", "")]),
    ("no data, no event", b"event: x\n\ndata: a\n\n", &[("", "a", "")]),
    ("more blank lines say nothing", b"\n\n\ndata: a\n\n\n\n", &[("", "a", "")]),
    ("a comment says nothing", b": x\ndata: a\n:\n\n", &[("", "a", "")]),
    ("an unknown field says nothing", b"dat: x\ndata: a\ndatas: y\n\n", &[("", "a", "")]),
    ("letter case counts", b"Data: x\nDATA: y\n\n", &[]),
    ("space before a name counts", b" data: x\n\n", &[]),
    ("space before the colon counts", b"data : x\n\n", &[]),
    ("event names one event", b"event: x\ndata: a\n\ndata: b\n\n", &[("x", "a", ""), ("", "b", "")]),
    ("the last event field counts", b"event: x\nevent: y\ndata: a\n\n", &[("y", "a", "")]),
    ("an empty event field is none", b"event: x\nevent\ndata: a\n\n", &[("", "a", "")]),
    ("id stays", b"id: 1\ndata: a\n\ndata: b\n\n", &[("", "a", "1"), ("", "b", "1")]),
    ("an empty id is one", b"id: 1\ndata: a\n\nid\ndata: b\n\n", &[("", "a", "1"), ("", "b", "")]),
    ("an id with NUL is none", b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", &[("", "a", "1"), ("", "b", "1")]),
    ("an id without data counts", b"id: 1\n\ndata: a\n\n", &[("", "a", "1")]),
    ("data may hold NUL", b"data: a\0b\n\n", &[("", "a\0b", "")]),
    ("a mark at the beginning is dropped", b"\xEF\xBB\xBFdata: a\n\n", &[("", "a", "")]),
    ("one mark is dropped", b"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\ndata: b\n\n", &[("", "b", "")]),
    ("a mark later is not dropped", b"data: a\n\n\xEF\xBB\xBFdata: b\n\n", &[("", "a", "")]),
    ("what is no UTF-8 is replaced", b"data: \xFFa\xE2\x98\n\n", &[("", "\u{fffd}a\u{fffd}", "")]),
    ("UTF-8 may be cut", "data: ☕👩\n\n".as_bytes(), &[("", "☕👩", "")]),
    ("what is unfinished is no event", b"data: a\n\ndata: b\n", &[("", "a", "")]),
];

#[test]
fn each_rule_holds_whole_byte_by_byte_and_cut_in_two_anywhere() {
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
            let told: Vec<_> = events.iter().map(|(name, data, id)| (name.as_str(), data.as_str(), &**id)).collect();
            assert_eq!(told, expected, "{rule}");
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
