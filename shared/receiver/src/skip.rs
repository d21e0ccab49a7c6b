//! Event types that are answered but not recorded, because they are too frequent. The list is empty by default.

use std::collections::HashSet;

use gatehouse_payload::Event;
use gatehouse_runtime::config::ConfigError;

/// The excluded event types, such as `vapi:speech-update`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skip(HashSet<String>);

impl Skip {
    /// Reads `SKIP` with `get`: a list of `vendor:type`, separated by commas.
    ///
    /// # Errors
    /// If an element is not `vendor:type`.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let Some(list) = get("SKIP").filter(|list| !list.is_empty()) else { return Ok(Skip::default()) };
        let types: HashSet<String> = list.split(',').map(|element| element.trim().to_owned()).collect();
        let is_valid = |element: &String| {
            let vendor = element.split_once(':').filter(|(_, name)| !name.is_empty()).map(|(vendor, _)| vendor);
            vendor.is_some_and(|vendor| !vendor.is_empty())
        };
        if types.iter().all(is_valid) {
            Ok(Skip(types))
        } else {
            Err(ConfigError::Invalid("SKIP", "<vendor>:<type>, separated by commas"))
        }
    }

    /// Whether the type of an event is excluded.
    #[must_use]
    pub fn excludes(&self, event: &Event) -> bool {
        let event_type = event.event_type.as_ref().filter(|_| !self.0.is_empty());
        event_type.is_some_and(|event_type| self.0.contains(&format!("{}:{event_type}", event.source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_element_of_skip_is_rejected() {
        let read = |list: &str| Skip::read(&|_| Some(list.to_owned()));
        assert_eq!(read("").unwrap(), Skip::default());
        assert_eq!(read("vapi:speech-update, ada:v1.end_user.updated").unwrap().0.len(), 2);
        for wrong in ["speech-update", "vapi:", "vapi:x,,", ":x"] {
            assert!(read(wrong).unwrap_err().to_string().contains("SKIP"), "{wrong}");
        }
    }
}
