//! A secret's text.

use std::ops::Deref;

use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Text that is shown to nobody, and is wiped from memory when it is not needed any more.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_like_text_and_shown_to_nobody() {
        let secret: Secret = serde_json::from_str("\"s3cret\"").unwrap();
        assert_eq!((&*secret, format!("{secret:?}").as_str()), ("s3cret", "[redacted]"));
        assert!(serde_json::from_str::<Secret>("7").is_err());
    }
}
