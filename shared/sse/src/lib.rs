#![doc = include_str!("../README.md")]

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Reads a stream of server-sent events, in chunks cut anywhere.
#[derive(Debug)]
pub struct Reader {
    /// The largest block, in bytes.
    limit: usize,
    /// What has come of the block that is not complete yet.
    partial: BytesMut,
    /// How much of the line that is not complete yet has come, in bytes.
    line: usize,
    /// Whether the last byte was a CR, so that an LF would belong to the same line end.
    after_cr: bool,
    /// Whether the first block is still to come, which may begin with a byte order mark.
    is_first: bool,
    last_event_id: String,
    retry_ms: Option<u64>,
}

/// A block: everything up to and including its blank line. Joined, the blocks of a stream are its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The block's bytes, as they came.
    pub bytes: Bytes,
    /// The event it holds; `None` for comments, for fields without data, and for the LF of a line end whose CR ended the
    /// block before.
    pub event: Option<Event>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The field `event`; empty where there is none, which stands for `message`.
    pub name: String,
    /// The lines of `data`, joined by LF. Bytes that are not UTF-8 are U+FFFD.
    pub data: String,
    /// The last `id` so far.
    pub last_event_id: String,
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
            partial: BytesMut::new(),
            line: 0,
            after_cr: false,
            is_first: true,
            last_event_id: String::new(),
            retry_ms: None,
        }
    }

    /// Takes a chunk, and adds the blocks that are complete with it: at once when the blank line has come, though an LF may
    /// still follow its CR.
    ///
    /// # Errors
    /// When a block is larger than the limit. Those before it have been added.
    pub fn feed(&mut self, chunk: impl Into<Bytes>, blocks: &mut Vec<Block>) -> Result<(), TooLarge> {
        let mut chunk: Bytes = chunk.into();
        // How much of the chunk belongs to the block that is being read.
        let mut read = 0;
        while let Some(rest) = chunk.get(read..).filter(|rest| !rest.is_empty()) {
            if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
                read += 1;
                if read == 1 && self.partial.is_empty() {
                    blocks.push(Block { bytes: chunk.split_to(1), event: None });
                    read = 0;
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
                if self.after_cr && chunk.get(read) == Some(&b'\n') {
                    self.after_cr = false;
                    read += 1;
                }
                blocks.push(self.complete(chunk.split_to(read)));
                read = 0;
            }
            self.line = 0;
        }
        self.partial.extend_from_slice(&chunk);
        self.within_limit(self.partial.len())
    }

    /// What has come after the last complete block.
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
                b"id" if !value.contains(&0) => self.last_event_id = String::from_utf8_lossy(value).into_owned(),
                b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                    self.retry_ms = std::str::from_utf8(value).ok().and_then(|ms| ms.parse().ok()).or(self.retry_ms);
                }
                _ => {}
            }
        }
        data.map(|data| Event { name, data, last_event_id: self.last_event_id.clone(), is_utf8 })
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
