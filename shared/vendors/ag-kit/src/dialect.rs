//! The two dialects.

use std::fmt;

/// The dialect of an agent or a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// AG-Kit: [`kit`](crate::kit).
    AgKit,
    /// AG-UI: [`ui`](crate::ui).
    AgUi,
}

impl Dialect {
    /// Returns the word in configurations and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::AgKit => "ag-kit",
            Dialect::AgUi => "ag-ui",
        }
    }

    /// Returns the dialect with this word; `None` for any other word.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        [Dialect::AgKit, Dialect::AgUi].into_iter().find(|dialect| dialect.as_str() == word)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
