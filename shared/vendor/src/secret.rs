//! A secret's text.

use std::ops::Deref;

use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret text. Debug output hides it, and it is wiped from memory when it is dropped.
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
    fn secret_is_read_from_a_string_and_hidden_in_debug_output() {
        let secret: Secret = serde_json::from_str("\"s3cret\"").unwrap();
        assert_eq!((&*secret, format!("{secret:?}").as_str()), ("s3cret", "[redacted]"));
        assert!(serde_json::from_str::<Secret>("7").is_err());
    }
}
