//! Fuzzes the parser of event streams: chunks of any size give the same events, no byte is lost, and the buffer never
//! exceeds its limit. A chat turn has the same end whether its content is stored or only watched.
//!
//! The first byte of the input is the size of the chunks. The rest is the stream.

use bytes::Bytes;
use gatehouse_ag_kit::Dialect;
use gatehouse_ag_kit::turn::{Change, Turn};
use gatehouse_sse::{Block, Reader};

const LIMIT: usize = 256;

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Option<(Vec<Block>, Vec<u8>)> {
    let mut reader = Reader::new(LIMIT);
    let mut blocks = Vec::new();
    for chunk in chunks {
        reader.feed(Bytes::copy_from_slice(chunk));
        while let Some(block) = reader.next_block().ok()? {
            blocks.push(block);
        }
        assert!(reader.unfinished().len() <= LIMIT);
    }
    Some((blocks, reader.unfinished().to_vec()))
}

/// Parses the stream as a whole and in chunks.
pub fn check(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else { return };
    let whole = read(std::iter::once(stream));
    let cut = read(stream.chunks(usize::from(*size).max(1)));
    assert_eq!(whole.is_some(), cut.is_some());
    let (Some((whole, rest)), Some((cut, _))) = (whole, cut) else { return };
    let bytes: Vec<u8> = whole.iter().flat_map(|block| block.bytes.to_vec()).chain(rest).collect();
    assert_eq!(bytes, stream);
    let events = |blocks: Vec<Block>| blocks.into_iter().filter_map(|block| block.event).collect::<Vec<_>>();
    let (whole, cut) = (events(whole), events(cut));
    assert_eq!(whole, cut);
    for dialect in [Dialect::AgKit, Dialect::AgUi] {
        let (mut turn, mut watched) = (Turn::new(dialect), Turn::watched(dialect));
        for event in &whole {
            if let Change::Text { message, from } = turn.take(&event.data) {
                assert!(turn.messages()[message].content.is_char_boundary(from));
            }
            watched.take(&event.data);
            assert_eq!(turn.end, watched.end);
        }
    }
}
