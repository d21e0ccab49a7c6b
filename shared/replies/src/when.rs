//! The conditions of a rule.

use gatehouse_payload::condition::Conditions;
use gatehouse_vapi::FINAL_TRANSCRIPT;
use serde::Deserialize;

use crate::message::VapiMessage;

/// The type of a rule for every message.
pub(crate) const EVERY: &str = "*";

/// When a rule applies.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct When {
    /// The message's type, such as `workflow.node.started`. `transcript[transcriptType="final"]` matches only final
    /// transcripts, with either of their names. `*` matches every message except `voice-request`.
    #[serde(rename = "type")]
    pub(crate) message_type: String,
    /// For `tool-calls` to a server: the tool's name. The rule is then applied to each call of the tool.
    #[serde(default)]
    pub(crate) tool: Option<String>,
    /// Further conditions: JSON pointers into the message (`/call/customer/number`), each with a condition on its
    /// value.
    #[serde(default, rename = "where")]
    pub(crate) conditions: Conditions,
}

impl When {
    /// Whether the rule may apply to messages of this type.
    pub(crate) fn may_be_of(&self, message_type: Option<&str>) -> bool {
        match self.message_type.as_str() {
            EVERY => true,
            "tool-calls" => matches!(message_type, Some("tool-calls" | "function-call")),
            FINAL_TRANSCRIPT => message_type == Some("transcript"),
            other => message_type == Some(other),
        }
    }

    /// Whether the rule applies to a message. A rule never applies if a value that it checks is ambiguous: a repeated
    /// member or a string with a lone surrogate.
    pub(crate) fn applies(&self, message: &VapiMessage) -> bool {
        message.has_type(&self.message_type)
            && self.tool.as_deref().is_none_or(|tool| message.is_call_of(tool))
            && self.conditions.hold(|pointer| message.find(pointer))
    }
}
