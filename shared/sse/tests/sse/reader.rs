//! Tests the reader: the rules of the HTML standard, the limit, unchanged bytes, and streams that end early.

use bytes::Bytes;
use gatehouse_sse::{Block, Event, Reader, TooLarge};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

/// Feeds a chunk, and adds the blocks that it completes to `blocks`.
fn feed(reader: &mut Reader, chunk: &[u8], blocks: &mut Vec<Block>) -> Result<(), TooLarge> {
    reader.feed(Bytes::copy_from_slice(chunk));
    while let Some(block) = reader.next_block()? {
        blocks.push(block);
    }
    Ok(())
}

/// Reads a stream in chunks. Returns its blocks, the unfinished rest, and `retry`.
fn blocks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Block>, Vec<u8>, Option<u64>) {
    let mut reader = Reader::new(LIMIT);
    let mut blocks = Vec::new();
    for chunk in chunks {
        feed(&mut reader, chunk, &mut blocks).unwrap();
    }
    (blocks, reader.unfinished().to_vec(), reader.retry_ms())
}

fn events(stream: &str) -> Vec<Event> {
    blocks([stream.as_bytes()]).0.into_iter().filter_map(|block| block.event).collect()
}

fn data(stream: &str) -> Vec<String> {
    events(stream).into_iter().map(|event| event.data).collect()
}

#[test]
fn data_lines_are_joined_and_one_space_is_dropped() {
    assert_eq!(data("data: a\ndata:b\ndata:  c\ndata\n\n"), ["a\nb\n c\n"]);
    assert_eq!(data("data\n\ndata:\n\ndata\ndata\n\n"), ["", "", "\n"]);
    assert_eq!(data("data: a: b\n\n"), ["a: b"]);
}

#[test]
fn cr_lf_and_crlf_end_a_line() {
    for stream in [
        "data: a\n\ndata: b\n\n",
        "data: a\r\rdata: b\r\r",
        "data: a\r\n\r\ndata: b\r\n\r\n",
        "data: a\n\r\ndata: b\r\n\n",
    ] {
        assert_eq!(data(stream), ["a", "b"], "{stream:?}");
    }
    for no_end in ["\u{2028}", "\u{2029}", "\u{85}"] {
        assert_eq!(data(&format!("data: a{no_end}{no_end}b\n\n")), [format!("a{no_end}{no_end}b")]);
    }
}

#[test]
fn byte_order_mark_is_dropped_only_at_the_beginning() {
    assert_eq!(data("\u{feff}data: a\n\n"), ["a"]);
    assert_eq!(data("\u{feff}\u{feff}data: a\n\n"), [""; 0]);
    assert_eq!(data("\n\u{feff}data: a\n\n"), [""; 0]);
    assert_eq!(data("data: a\n\n\u{feff}data: b\n\n"), ["a"]);
    assert_eq!(data("\u{feff}\n\ndata: a\n\n"), ["a"]);
}

#[test]
fn comments_and_unknown_fields_are_ignored() {
    assert_eq!(data(": hello\n\n:\n\nDATA: a\nfoo: b\n data: c\ndata : d\n\n"), [""; 0]);
    assert_eq!(data(":x\ndata: a\n:y\n\n"), ["a"]);
}

#[test]
fn name_applies_to_one_event_and_id_to_all_later_events() {
    let received =
        events("event: x\nid: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: 2\0\ndata: d\n\nevent: y\n\ndata: e\n\n");
    let actual: Vec<_> = received.iter().map(|event| (event.name.as_str(), &*event.last_event_id)).collect();
    assert_eq!(actual, [("x", "1"), ("", "1"), ("", ""), ("", ""), ("", "")]);
    assert_eq!(&*events("id: 7\n\ndata: a\n\n")[0].last_event_id, "7", "an id without data is remembered");
}

#[test]
fn retry_with_other_characters_than_digits_is_ignored() {
    assert_eq!(blocks([&b"retry: 1000\n\n"[..]]).2, Some(1000));
    assert_eq!(blocks([&b"retry: 1000\nretry: 1000x\nretry\nretry: -1\n\n"[..]]).2, Some(1000));
}

#[test]
fn invalid_utf_8_is_replaced_in_the_data_but_not_in_the_block() {
    let stream = b"data: a\xffb\xe2\x82\n\n";
    let (received, _, _) = blocks([&stream[..]]);
    let event = received[0].event.as_ref().unwrap();
    assert_eq!((event.data.as_str(), event.is_utf8), ("a\u{fffd}b\u{fffd}", false));
    assert_eq!(&received[0].bytes[..], stream);
}

#[test]
fn block_is_returned_as_soon_as_its_blank_line_is_read() {
    let mut reader = Reader::new(LIMIT);
    let mut received = Vec::new();
    for (chunk, complete) in [("data: a\r", 0), ("\n\r", 1), ("\nda", 2), ("ta: b\n\n", 3)] {
        feed(&mut reader, chunk.as_bytes(), &mut received).unwrap();
        assert_eq!(received.len(), complete, "{chunk:?}");
    }
    assert_eq!(&received[1].bytes[..], b"\n", "the rest of the line end is a block without an event");
    assert!(received[1].event.is_none() && received[2].event.is_some());
}

#[test]
fn block_over_the_limit_fails_after_the_blocks_before_it() {
    for size in [1, 7, 64] {
        let mut reader = Reader::new(32);
        let mut received = Vec::new();
        let stream = [b"data: fits\n\n".to_vec(), vec![b'\n'; 40], b"data:\n".repeat(8)].concat();
        let result: Result<(), TooLarge> =
            stream.chunks(size).try_for_each(|chunk| feed(&mut reader, chunk, &mut received));
        assert_eq!(result, Err(TooLarge { limit: 32 }), "{size}");
        assert_eq!(received.len(), 41, "empty data lines count, and empty blocks do not");
    }
}

#[test]
fn limit_does_not_depend_on_where_a_line_end_is_cut() {
    let block = |length: usize| format!("data: {}\n\r\n", "x".repeat(length - 8)).into_bytes();
    for (length, fits) in [(32, true), (33, false)] {
        let stream = block(length);
        for cut in 0..stream.len() {
            let mut reader = Reader::new(32);
            let mut received = Vec::new();
            let (first, second) = stream.split_at(cut);
            let result =
                feed(&mut reader, first, &mut received).and_then(|()| feed(&mut reader, second, &mut received));
            assert_eq!(result.is_ok(), fits, "{length} cut at {cut}");
        }
    }
}

#[test]
fn events_share_one_allocation_of_the_last_id() {
    let id = "x".repeat(1000);
    let received = events(&format!("id: {id}\n{}", "data: a\n\n".repeat(3)));
    assert!(received.iter().all(|event| std::sync::Arc::ptr_eq(&event.last_event_id, &received[0].last_event_id)));
    assert_eq!(*received[2].last_event_id, *id);
}

#[test]
fn finish_returns_a_last_event_without_its_blank_line() {
    for (end, added) in
        [("data: b", "\n\n"), ("data: b\n", "\n"), ("data: b\r", "\n\n"), ("data: b\r\n", "\n"), ("data", "\n\n")]
    {
        let mut reader = Reader::new(LIMIT);
        let mut received = Vec::new();
        feed(&mut reader, format!("data: a\n\n{end}").as_bytes(), &mut received).unwrap();
        let last = reader.finish().unwrap();
        assert_eq!(last.bytes, format!("{end}{added}"), "{end:?}");
        let (whole, ..) = blocks([&last.bytes[..]]);
        assert_eq!(whole, [last], "{end:?}: the line ends make it a whole block");
        assert_eq!(reader.finish(), None);
    }
    for nothing in ["", ": comment", "event: x", "data: a\n\n"] {
        let mut reader = Reader::new(LIMIT);
        feed(&mut reader, nothing.as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!(reader.finish(), None, "{nothing:?}");
    }
}

/// Generates streams from line ends, fields and random bytes.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\n\r\n"]).prop_map(|s| s.as_bytes().to_vec()),
        4 => prop::sample::select(vec![
            "data: ", "data:", "data", "event: ", "id: ", "retry: 12", ":", " ", "x", "é", "\u{feff}", "\0",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Reads the stream with the reader of another crate.
fn oracle(stream: &[u8]) -> Vec<(String, String, String)> {
    let mut decoder = sse_core::SseDecoder::new();
    let mut rest = Bytes::copy_from_slice(stream);
    let mut events = Vec::new();
    while let Some(event) = decoder.next(&mut rest) {
        if let sse_core::SseEvent::Message(message) = event.unwrap() {
            let id = message.last_event_id.map(|id| id.to_string()).unwrap_or_default();
            events.push((message.event.into_owned(), message.data, id));
        }
    }
    events
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(2048))]

    #[test]
    fn chunking_changes_neither_events_nor_bytes(
        stream in stream(),
        cuts in prop::collection::vec(0..200usize, 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < stream.len()).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        let (whole, rest, retry) = blocks([&stream[..]]);
        let (cut, cut_rest, cut_retry) = blocks(chunks);
        let (bytewise, ..) = blocks(stream.chunks(1));
        let events = |blocks: &[Block]| blocks.iter().filter_map(|block| block.event.clone()).collect::<Vec<_>>();
        prop_assert_eq!(events(&whole), events(&cut));
        prop_assert_eq!(events(&whole), events(&bytewise));
        prop_assert_eq!(retry, cut_retry);
        for (blocks, rest) in [(&whole, &rest), (&cut, &cut_rest)] {
            let blocks = blocks.iter().flat_map(|block| block.bytes.to_vec());
            let joined: Vec<u8> = blocks.chain(rest.iter().copied()).collect();
            prop_assert_eq!(&joined, &stream, "the joined blocks are the stream");
        }
    }

    #[test]
    fn events_equal_those_of_another_reader(stream in stream()) {
        let name = |name: &str| if name.is_empty() { "message".to_owned() } else { name.to_owned() };
        let (blocks, ..) = blocks([&stream[..]]);
        let events = blocks.into_iter().filter_map(|block| block.event);
        let actual = events.map(|event| (name(&event.name), event.data, event.last_event_id.to_string()));
        prop_assert_eq!(actual.collect::<Vec<_>>(), oracle(&stream));
    }
}
