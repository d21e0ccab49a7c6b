//! MD5 digests that SDKs use to verify that a message arrived unchanged.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest, Md5};
use serde_json::{Map, Value};

/// Returns the digest of a message body.
pub(super) fn of_body(body: &str) -> String {
    HEXLOWER.encode(&Md5::digest(body.as_bytes()))
}

/// Returns the digest of a message's attributes; `None` if it has none.
pub(super) fn of_attributes(attributes: &Map<String, Value>) -> Option<String> {
    let sorted: BTreeMap<&String, &Value> = attributes.iter().collect();
    let mut digest = Md5::new();
    for (name, value) in sorted {
        add(&mut digest, name.as_bytes());
        add(&mut digest, value["DataType"].as_str().unwrap_or_default().as_bytes());
        match value["StringValue"].as_str() {
            Some(text) => {
                digest.update([1]);
                add(&mut digest, text.as_bytes());
            }
            None => {
                digest.update([2]);
                let binary = value["BinaryValue"].as_str().unwrap_or_default();
                add(&mut digest, &BASE64.decode(binary.as_bytes()).unwrap_or_default());
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
