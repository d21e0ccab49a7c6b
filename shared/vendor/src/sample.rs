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
    /// JSON pointers to the members that name the subject, and to those that make the event this occurrence.
    pub ids: &'static [&'static str],
    /// JSON pointers to the times.
    pub times: &'static [&'static str],
}

impl Sample {
    /// Returns a body that is a new event: `id` and `at` replace the sample's ids and times in their own forms.
    #[must_use]
    pub fn fresh(&self, id: &str, at: Timestamp) -> String {
        let Ok(mut body) = serde_json::from_str::<Value>(self.body) else { return self.body.to_owned() };
        for pointer in self.ids {
            set(&mut body, pointer, |_| id.into());
        }
        for pointer in self.times {
            set(&mut body, pointer, |was| if was.is_number() { at.as_millis().into() } else { at.to_string().into() });
        }
        body.to_string()
    }
}

/// Sets the member at `pointer` if the object that holds it is there.
fn set(body: &mut Value, pointer: &str, value: impl FnOnce(&Value) -> Value) {
    let Some((holder, name)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(holder)) = body.pointer_mut(holder) {
        let member = holder.entry(name).or_insert(Value::Null);
        *member = value(member);
    }
}
