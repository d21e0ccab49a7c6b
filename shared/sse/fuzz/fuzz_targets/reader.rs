//! Whatever comes, in whatever chunks: no panic, no byte lost, the same events, and never more than the limit in memory.
#![no_main]

use bytes::Bytes;
use gatehouse_sse::{Block, Reader};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 256;

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Option<(Vec<Block>, Vec<u8>)> {
    let mut reader = Reader::new(LIMIT);
    let mut blocks = Vec::new();
    for chunk in chunks {
        reader.feed(Bytes::copy_from_slice(chunk), &mut blocks).ok()?;
        assert!(reader.unfinished().len() <= LIMIT);
    }
    Some((blocks, reader.unfinished().to_vec()))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = read(std::iter::once(stream));
    let cut = read(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole.is_some(), cut.is_some());
    let (Some((whole, rest)), Some((cut, _))) = (whole, cut) else { return };
    let bytes: Vec<u8> = whole.iter().flat_map(|block| block.bytes.to_vec()).chain(rest).collect();
    assert_eq!(bytes, stream);
    let events = |blocks: Vec<Block>| blocks.into_iter().filter_map(|block| block.event).collect::<Vec<_>>();
    assert_eq!(events(whole), events(cut));
});
