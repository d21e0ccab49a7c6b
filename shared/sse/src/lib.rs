#![doc = include_str!("../README.md")]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Reads a stream of server-sent events, in chunks cut anywhere. It hands blocks over one by one, so that its memory is
/// bounded by the chunk and the largest block.
#[derive(Debug)]
pub struct Reader {
    /// The largest block, in bytes.
    limit: usize,
    /// The part of the last chunk that no block has been made of yet.
    chunk: Bytes,
    /// The beginning of the incomplete block, from earlier chunks.
    partial: BytesMut,
    /// How much of the line that is not complete yet has come, in bytes.
    line: usize,
    /// Whether the last byte was a CR, so that an LF would belong to the same line end.
    after_cr: bool,
    /// Whether the first block is still to come, which may begin with a byte order mark.
    is_first: bool,
    last_event_id: Arc<str>,
    retry_ms: Option<u64>,
}

/// A block: everything up to and including its blank line. Joined, the blocks of a stream are its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The block's bytes, as they came.
    pub bytes: Bytes,
    /// The event it holds; `None` for comments, for fields without data, and for the LF of a line end whose CR ended
    /// the block before.
    pub event: Option<Event>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The field `event`; empty where there is none, which stands for `message`.
    pub name: String,
    /// The lines of `data`, joined by LF. Bytes that are not UTF-8 are U+FFFD.
    pub data: String,
    /// The last `id` so far, shared by the events that follow it.
    pub last_event_id: Arc<str>,
    /// Whether the data were UTF-8.
    pub is_utf8: bool,
}

/// A block is larger than the limit. The reader is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {limit} bytes")]
pub struct TooLarge {
    /// The limit, in bytes.
    pub limit: usize,
}

impl Reader {
    /// A reader of blocks of up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Reader {
            limit,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            line: 0,
            after_cr: false,
            is_first: true,
            last_event_id: Arc::default(),
            retry_ms: None,
        }
    }

    /// Takes a chunk, whose blocks [`next_block`](Self::next_block) gives.
    pub fn feed(&mut self, chunk: impl Into<Bytes>) {
        let chunk = chunk.into();
        self.chunk = if self.chunk.is_empty() {
            chunk
        } else {
            let mut both = BytesMut::from(&self.chunk[..]);
            both.extend_from_slice(&chunk);
            both.freeze()
        };
    }

    /// Gives the next complete block; `None` when the next chunk is needed. A block is complete when its blank line has
    /// come, though an LF may still follow its CR.
    ///
    /// # Errors
    /// When a block is larger than the limit.
    pub fn next_block(&mut self) -> Result<Option<Block>, TooLarge> {
        // How much of the chunk belongs to the block that is being read.
        let mut read = 0;
        while let Some(rest) = self.chunk.get(read..).filter(|rest| !rest.is_empty()) {
            if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
                read += 1;
                if read == 1 && self.partial.is_empty() {
                    return Ok(Some(Block { bytes: self.chunk.split_to(1), event: None }));
                }
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', rest) else {
                self.line += rest.len();
                break;
            };
            self.line += end;
            self.after_cr = rest.get(end) == Some(&b'\r');
            read += end + 1;
            if self.line == 0 {
                // The LF behind the last CR does not count: it may as well come in the next chunk.
                self.within_limit(self.partial.len() + read)?;
                if self.after_cr && self.chunk.get(read) == Some(&b'\n') {
                    self.after_cr = false;
                    read += 1;
                }
                let rest = self.chunk.split_to(read);
                return Ok(Some(self.complete(rest)));
            }
            self.line = 0;
        }
        self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
        self.within_limit(self.partial.len()).map(|()| None)
    }

    /// Gives the event whose blank line is missing at the end of a stream, with the line ends added; `None` where there
    /// is no data. The HTML standard discards such an event; servers that end their streams regularly rely on its being
    /// read.
    pub fn finish(&mut self) -> Option<Block> {
        let ends: &[u8] = if self.partial.ends_with(b"\n") { b"\n" } else { b"\n\n" };
        let mut bytes = self.partial.split();
        bytes.extend_from_slice(ends);
        let event = self.event(&bytes)?;
        Some(Block { bytes: bytes.freeze(), event: Some(event) })
    }

    /// The beginning of the incomplete block, once [`next_block`](Self::next_block) has given `None`.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.partial
    }

    /// The last `retry`, in milliseconds: after how long to connect again.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn within_limit(&self, length: usize) -> Result<(), TooLarge> {
        if length > self.limit { Err(TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    fn complete(&mut self, rest: Bytes) -> Block {
        let bytes = if self.partial.is_empty() {
            rest
        } else {
            self.partial.extend_from_slice(&rest);
            self.partial.split().freeze()
        };
        let event = self.event(&bytes);
        Block { bytes, event }
    }

    fn event(&mut self, block: &[u8]) -> Option<Event> {
        let is_first = std::mem::take(&mut self.is_first);
        let block = if is_first { block.strip_prefix("\u{feff}".as_bytes()).unwrap_or(block) } else { block };
        let (mut name, mut data, mut is_utf8) = (String::new(), None::<String>, true);
        for line in lines(block) {
            let (field, value) = match line.iter().position(|byte| *byte == b':') {
                Some(colon) => {
                    let (field, value) = (line.get(..colon)?, line.get(colon + 1..)?);
                    (field, value.strip_prefix(b" ").unwrap_or(value))
                }
                None => (line, &[][..]),
            };
            match field {
                b"event" => name = String::from_utf8_lossy(value).into_owned(),
                b"data" => {
                    let text = String::from_utf8_lossy(value);
                    is_utf8 &= matches!(text, std::borrow::Cow::Borrowed(_));
                    match &mut data {
                        None => data = Some(text.into_owned()),
                        Some(data) => {
                            data.push('\n');
                            data.push_str(&text);
                        }
                    }
                }
                b"id" if !value.contains(&0) => self.last_event_id = Arc::from(&*String::from_utf8_lossy(value)),
                b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                    self.retry_ms = std::str::from_utf8(value).ok().and_then(|ms| ms.parse().ok()).or(self.retry_ms);
                }
                _ => {}
            }
        }
        data.map(|data| Event { name, data, last_event_id: Arc::clone(&self.last_event_id), is_utf8 })
    }
}

/// The lines of a block, without their ends: CRLF, LF or CR.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let end = memchr2(b'\r', b'\n', rest)?;
        let line = rest.get(..end)?;
        let crlf = rest.get(end..end + 2) == Some(b"\r\n");
        rest = rest.get(end + if crlf { 2 } else { 1 }..)?;
        Some(line)
    })
}
