//! Sample deliveries.

use gatehouse_payload::time::Timestamp;
use serde_json::Value;

/// A valid body of one of a vendor's event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The name of the sample's file, without its ending: `conversation-message`.
    pub name: &'static str,
    /// The body, as JSON.
    pub body: &'static str,
    /// JSON pointers to the ids that make a body a new event: those of its subject or of its occurrence.
    pub ids: &'static [&'static str],
    /// JSON pointers to the times.
    pub times: &'static [&'static str],
}

impl Sample {
    /// Returns a body for a new event: `id` replaces the ids, and `at` replaces each time in the same format.
    #[must_use]
    pub fn fresh(&self, id: &str, at: Timestamp) -> String {
        let Ok(mut body) = serde_json::from_str::<Value>(self.body) else { return self.body.to_owned() };
        for pointer in self.ids {
            set(&mut body, pointer, |_| id.into());
        }
        for pointer in self.times {
            set(&mut body, pointer, |old| if old.is_number() { at.as_millis().into() } else { at.to_string().into() });
        }
        body.to_string()
    }
}

/// Sets the member at `pointer`, unless its parent is not an object.
fn set(body: &mut Value, pointer: &str, value: impl FnOnce(&Value) -> Value) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(parent)) = body.pointer_mut(parent) {
        let member = parent.entry(name).or_insert(Value::Null);
        *member = value(member);
    }
}
