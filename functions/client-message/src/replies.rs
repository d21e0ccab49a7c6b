//! Which client inbound message answers which client message.

use std::collections::BTreeMap;

use gatehouse_inbox::Event;
use serde_json::Value;

/// The types of Vapi's `ClientInboundMessage` (OpenAPI document, August 2026).
const TYPES: [&str; 6] = ["add-message", "control", "say", "end-call", "transfer", "send-transport-message"];

/// Fixed replies by message type: `{"workflow.node.started": {"message": {"type": "add-message", …}}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies(BTreeMap<String, String>);

/// Why a text holds no replies. Names the message type it is about.
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
    #[error("the reply to {0} is not {{\"message\": {{\"type\": …}}}} with one of the types {types}", types = TYPES.join(", "))]
    Reply(String),
}

impl Replies {
    /// Reads replies.
    ///
    /// # Errors
    /// When the text is not a JSON object whose members are client inbound messages.
    pub fn parse(text: &str) -> Result<Self, BadReplies> {
        let shape = |e: serde_json::Error| BadReplies::Shape { line: e.line(), column: e.column() };
        let replies: BTreeMap<String, Value> = serde_json::from_str(text).map_err(shape)?;
        let checked = replies.into_iter().map(|(to, reply)| {
            let known = match &reply["message"]["type"] {
                Value::String(kind) => TYPES.contains(&kind.as_str()),
                // Of `say` alone not even the type is required.
                Value::Null => reply["message"]["content"].is_string(),
                _ => false,
            };
            if known { Ok((to, reply.to_string())) } else { Err(BadReplies::Reply(to)) }
        });
        checked.collect::<Result<_, _>>().map(Replies)
    }

    /// The reply to an event: JSON text.
    #[must_use]
    pub fn to(&self, event: &Event) -> Option<&str> {
        self.0.get(event.event_type.as_deref()?).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_vapis_types_may_be_a_reply() {
        for kind in TYPES {
            assert!(Replies::parse(&format!(r#"{{"hang":{{"message":{{"type":"{kind}"}}}}}}"#)).is_ok());
        }
        assert!(Replies::parse(r#"{"hang":{"message":{"content":"Goodbye."}}}"#).is_ok());
    }

    #[test]
    fn anything_else_is_named_by_the_message_it_would_answer() {
        for reply in ["{}", "1", r#"{"message":"hello"}"#, r#"{"message":{"type":"hang"}}"#] {
            let replies = format!(r#"{{"hang":{reply}}}"#);
            assert_eq!(Replies::parse(&replies), Err(BadReplies::Reply("hang".to_owned())), "{reply}");
        }
        assert!(matches!(Replies::parse("[]"), Err(BadReplies::Shape { .. })));
    }
}
