//! Events that are answered and not kept, for their number: by a list that is empty unless somebody fills it.

use std::collections::HashSet;

use gatehouse_inbox::Event;
use gatehouse_inbox::config::ConfigError;

/// Kinds of events: `vapi:speech-update`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skip(HashSet<String>);

impl Skip {
    /// Reads `SKIP` by `get`: vendors and their names for kinds of events, separated by commas.
    ///
    /// # Errors
    /// When an element is not `vendor:type`.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let Some(list) = get("SKIP").filter(|list| !list.is_empty()) else { return Ok(Skip::default()) };
        let kinds: HashSet<String> = list.split(',').map(|kind| kind.trim().to_owned()).collect();
        let is_kind = |kind: &String| {
            let vendor = kind.split_once(':').filter(|(_, kind)| !kind.is_empty()).map(|(vendor, _)| vendor);
            vendor.is_some_and(|vendor| ["ada", "agntix", "vapi"].contains(&vendor))
        };
        if kinds.iter().all(is_kind) {
            Ok(Skip(kinds))
        } else {
            Err(ConfigError::Invalid("SKIP", "ada:<type>, agntix:<type> or vapi:<type>, separated by commas"))
        }
    }

    /// Whether an event is of one of them.
    pub(crate) fn names(&self, event: &Event) -> bool {
        let kind = event.event_type.as_ref().filter(|_| !self.0.is_empty());
        kind.is_some_and(|kind| self.0.contains(&format!("{}:{kind}", event.source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kind_of_event_is_named() {
        let read = |list: &str| Skip::read(&|_| Some(list.to_owned()));
        assert_eq!(read("").unwrap(), Skip::default());
        assert_eq!(read("vapi:speech-update, ada:v1.end_user.updated").unwrap().0.len(), 2);
        for wrong in ["speech-update", "vapi:", "other:x", "vapi:x,,", ":x"] {
            assert!(read(wrong).unwrap_err().to_string().contains("SKIP"), "{wrong}");
        }
    }
}
