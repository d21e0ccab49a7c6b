#![doc = include_str!("../README.md")]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Reads a stream of server-sent events from chunks that may end anywhere. Returns blocks one by one, so its memory is
/// bounded by the chunk and the largest block.
#[derive(Debug)]
pub struct Reader {
    /// Largest block, in bytes.
    limit: usize,
    /// The unread part of the last chunk.
    chunk: Bytes,
    /// The beginning of an incomplete block, from earlier chunks.
    partial: BytesMut,
    /// Length of the incomplete line so far, in bytes.
    line_length: usize,
    /// Whether the last byte was a CR. A following LF belongs to the same line end.
    after_cr: bool,
    /// Whether the next block is the first, which may begin with a byte order mark.
    is_first: bool,
    last_event_id: Arc<str>,
    retry_ms: Option<u64>,
}

/// A part of the stream up to and including a blank line. The joined blocks of a stream are its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The unchanged bytes of the block.
    pub bytes: Bytes,
    /// The event in the block; `None` if it only has comments or fields without data, or if it is the LF of a CRLF
    /// whose CR ended the previous block.
    pub event: Option<Event>,
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The field `event`. Empty if it is missing, which means `message`.
    pub name: String,
    /// The lines of `data`, joined by LF. Invalid UTF-8 is replaced by U+FFFD.
    pub data: String,
    /// The last `id` in the stream so far.
    pub last_event_id: Arc<str>,
    /// Whether the data is valid UTF-8.
    pub is_utf8: bool,
}

/// A block is larger than the limit. The reader cannot continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {limit} bytes")]
pub struct TooLarge {
    /// The limit, in bytes.
    pub limit: usize,
}

impl Reader {
    /// Creates a reader of blocks of up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Reader {
            limit,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            line_length: 0,
            after_cr: false,
            is_first: true,
            last_event_id: Arc::default(),
            retry_ms: None,
        }
    }

    /// Adds a chunk. [`next_block`](Self::next_block) returns its blocks.
    pub fn feed(&mut self, chunk: impl Into<Bytes>) {
        let chunk = chunk.into();
        self.chunk = if self.chunk.is_empty() {
            chunk
        } else {
            let mut joined = BytesMut::from(&self.chunk[..]);
            joined.extend_from_slice(&chunk);
            joined.freeze()
        };
    }

    /// Returns the next complete block; `None` if the next chunk is needed. A block whose blank line ends with a CR is
    /// complete, although an LF may follow in the next chunk.
    ///
    /// # Errors
    /// If a block is larger than the limit.
    pub fn next_block(&mut self) -> Result<Option<Block>, TooLarge> {
        // Number of bytes of the chunk that belong to the current block.
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
                self.line_length += rest.len();
                break;
            };
            self.line_length += end;
            self.after_cr = rest.get(end) == Some(&b'\r');
            read += end + 1;
            if self.line_length == 0 {
                // The LF after the last CR does not count, because it could also come in the next chunk.
                self.check_limit(self.partial.len() + read)?;
                if self.after_cr && self.chunk.get(read) == Some(&b'\n') {
                    self.after_cr = false;
                    read += 1;
                }
                let bytes = self.chunk.split_to(read);
                return Ok(Some(self.complete_block(bytes)));
            }
            self.line_length = 0;
        }
        self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
        self.check_limit(self.partial.len()).map(|()| None)
    }

    /// Returns the last event of a stream if its blank line is missing, with the line ends added; `None` if there is no
    /// data. The HTML standard discards such an event, but some servers omit the blank line.
    pub fn finish(&mut self) -> Option<Block> {
        let ends: &[u8] = if self.partial.ends_with(b"\n") { b"\n" } else { b"\n\n" };
        let mut bytes = self.partial.split();
        bytes.extend_from_slice(ends);
        let event = self.parse_event(&bytes)?;
        Some(Block { bytes: bytes.freeze(), event: Some(event) })
    }

    /// Returns the beginning of the incomplete block, after [`next_block`](Self::next_block) has returned `None`.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.partial
    }

    /// Returns the last `retry` field: the time after which a client should reconnect, in milliseconds.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn check_limit(&self, length: usize) -> Result<(), TooLarge> {
        if length > self.limit { Err(TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    /// Creates a block from its beginning in earlier chunks and the rest.
    fn complete_block(&mut self, rest: Bytes) -> Block {
        let bytes = if self.partial.is_empty() {
            rest
        } else {
            self.partial.extend_from_slice(&rest);
            self.partial.split().freeze()
        };
        let event = self.parse_event(&bytes);
        Block { bytes, event }
    }

    /// Parses the event of a block, and stores its `id` and `retry`.
    fn parse_event(&mut self, block: &[u8]) -> Option<Event> {
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

/// Splits a block into lines at CRLF, LF or CR.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let end = memchr2(b'\r', b'\n', rest)?;
        let line = rest.get(..end)?;
        let is_crlf = rest.get(end..end + 2) == Some(b"\r\n");
        rest = rest.get(end + if is_crlf { 2 } else { 1 }..)?;
        Some(line)
    })
}
