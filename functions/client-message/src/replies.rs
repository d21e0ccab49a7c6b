//! Which client inbound message answers which client message.

use std::collections::BTreeMap;

use gatehouse_inbox::Event;
use gatehouse_payload::vapi::inbound::Reply;
use serde_json::value::RawValue;

/// Fixed replies by message type: `{"workflow.node.started": {"message": {"type": "add-message", …}}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies(BTreeMap<String, String>);

/// Why a text holds no replies. Names the message type it is about, and members, but no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReplies {
    /// Not a JSON object of objects.
    #[error("not a JSON object that maps message types to replies (line {line}, column {column})")]
    Shape {
        /// Line, from 1.
        line: usize,
        /// Column, from 0.
        column: usize,
    },
    /// A reply Vapi would not understand.
    #[error("the reply to {to} is no client inbound message of Vapi's: {why}")]
    Reply {
        /// The message type.
        to: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Replies {
    /// Reads replies.
    ///
    /// # Errors
    /// When the text is not a JSON object whose members are client inbound messages, each with its `type`.
    pub fn parse(text: &str) -> Result<Self, BadReplies> {
        let shape = |e: serde_json::Error| BadReplies::Shape { line: e.line(), column: e.column() };
        let replies: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(shape)?;
        let checked = replies.into_iter().map(|(to, reply)| {
            let reply = serde_json::from_str::<Reply>(reply.get()).and_then(|reply| serde_json::to_string(&reply));
            match reply {
                Ok(reply) => Ok((to, reply)),
                Err(error) => Err(BadReplies::Reply { to, why: without_values(&error) }),
            }
        });
        checked.collect::<Result<_, _>>().map(Replies)
    }

    /// The reply to an event: JSON text.
    #[must_use]
    pub fn to(&self, event: &Event) -> Option<&str> {
        self.0.get(event.event_type.as_deref()?).map(String::as_str)
    }
}

/// An error's words, where they name members; those about a value would quote it.
fn without_values(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let names = ["missing field", "unknown field", "unknown variant", "a length in", "a whole number"];
    if names.iter().any(|name| words.starts_with(name)) {
        return words;
    }
    format!("a value is not of its type at line {}, column {} of it", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_vapis_inbound_messages_may_be_a_reply() {
        for message in [
            r#"{"type":"add-message","message":{"role":"system","content":"Be brief."}}"#,
            r#"{"type":"control","control":"mute-assistant"}"#,
            r#"{"type":"say","content":"Goodbye."}"#,
            r#"{"type":"end-call"}"#,
            r#"{"type":"transfer"}"#,
            r#"{"type":"send-transport-message","message":{"transport":"twilio","twiml":"<Response/>"}}"#,
        ] {
            assert!(Replies::parse(&format!(r#"{{"hang":{{"message":{message}}}}}"#)).is_ok(), "{message}");
        }
    }

    #[test]
    fn anything_else_is_named_by_the_message_it_would_answer_and_says_what_is_wrong() {
        for (reply, wrong) in [
            ("{}", "missing field `message`"),
            ("1", "a value is not of its type"),
            (r#"{"message":"a-secret"}"#, "a value is not of its type"),
            (r#"{"message":{"content":"a-secret"}}"#, "missing field `type`"),
            (r#"{"message":{"type":"hang"}}"#, "unknown variant `hang`"),
            (r#"{"message":{"type":"say","contents":"a-secret"}}"#, "unknown field `contents`"),
            (r#"{"message":{"type":"control"}}"#, "missing field `control`"),
        ] {
            let error = Replies::parse(&format!(r#"{{"hang":{reply}}}"#)).unwrap_err().to_string();
            assert!(error.starts_with("the reply to hang ") && error.contains(wrong), "{error}");
            assert!(!error.contains("a-secret"), "{error}");
        }
        assert!(matches!(Replies::parse("[]"), Err(BadReplies::Shape { .. })));
    }
}
