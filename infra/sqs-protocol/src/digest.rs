//! MD5 digests that SDKs use to verify that a message arrived unchanged.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest, Md5};

use crate::message::MessageAttributes;

/// Returns the digest of a message body.
#[must_use]
pub fn of_body(body: &str) -> String {
    HEXLOWER.encode(&Md5::digest(body.as_bytes()))
}

/// Returns the digest of a message's attributes; `None` if it has none.
#[must_use]
pub fn of_attributes(attributes: &MessageAttributes) -> Option<String> {
    let mut digest = Md5::new();
    for (name, value) in attributes {
        add(&mut digest, name.as_bytes());
        add(&mut digest, value.data_type.as_bytes());
        match (&value.string_value, &value.binary_value) {
            (Some(text), _) => {
                digest.update([1]);
                add(&mut digest, text.as_bytes());
            }
            (None, binary) => {
                digest.update([2]);
                let binary = BASE64.decode(binary.as_deref().unwrap_or_default().as_bytes());
                add(&mut digest, &binary.unwrap_or_default());
            }
        }
    }
    (!attributes.is_empty()).then(|| HEXLOWER.encode(&digest.finalize()))
}

/// Adds a value, preceded by its length.
fn add(digest: &mut Md5, value: &[u8]) {
    digest.update(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(value);
}
