//! Checks a request against its dialect before it is sent to an agent. An agent also answers requests in the other
//! dialect, but loses the conversation.
//!
//! A request is rejected only if every version of its dialect forbids it:
//!
//! - AG-UI 0.x requires a tool's `parameters`, and text as a tool's result. AG-UI 1.0 allows tools without `parameters`
//!   and results in parts, and drops messages with unknown roles.
//! - The draft of interrupts resumes with one object, 1.0 with a list.
//! - Servers add a missing `type` to a tool call.

use std::fmt;

use gatehouse_payload::json;
use gatehouse_payload::pointer::{Found, Pointer};

use super::Dialect;

/// The rule that a request breaks, and the member that breaks it. Quotes nothing from the request: members are
/// identified by the dialect's own names and by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The member, such as `messages[2].content`; empty for the request itself.
    pub member: String,
    /// The rule, such as `a string is needed`.
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member.is_empty() { f.write_str(&self.rule) } else { write!(f, "{}: {}", self.member, self.rule) }
    }
}

impl std::error::Error for Violation {}

/// Checks a request, which is the text of a JSON object. Unknown members are allowed.
///
/// # Errors
/// The first rule that the request breaks.
pub fn check(dialect: Dialect, request: &str) -> Result<(), Violation> {
    let request = Part { path: String::new(), text: request };
    check_dialect(dialect, &request)?;
    match dialect {
        Dialect::AgKit => kit(&request),
        Dialect::AgUi => ui(&request),
    }
}

/// Rejects a request that has a member of the other dialect and none of its own.
fn check_dialect(dialect: Dialect, request: &Part<'_>) -> Result<(), Violation> {
    const KIT: &[&str] = &["conversationId"];
    const UI: &[&str] = &["threadId", "runId", "parentRunId", "forwardedProps"];
    let (members, foreign_members, other) = match dialect {
        Dialect::AgKit => (KIT, UI, Dialect::AgUi),
        Dialect::AgUi => (UI, KIT, Dialect::AgKit),
    };
    if members.iter().any(|name| json::has_member(request.text, name)) {
        return Ok(());
    }
    let resume = request.member("resume")?.map(|resume| resume.text.starts_with('['));
    let has_foreign_resume = resume.is_some_and(|is_list| is_list != (dialect == Dialect::AgUi));
    let foreign_member = foreign_members.iter().find(|name| json::has_member(request.text, name));
    match foreign_member.copied().or(has_foreign_resume.then_some("resume")) {
        None => Ok(()),
        Some(name) => {
            let rule = format!("this is a request in the dialect {other}; this agent speaks {dialect}");
            Err(Violation { member: name.to_owned(), rule })
        }
    }
}

fn kit(request: &Part<'_>) -> Result<(), Violation> {
    for message in request.list("messages")? {
        common_message(&message, message.one_of("role", &["system", "user", "assistant", "tool"])?)?;
    }
    for tool in tools(request)? {
        tool.require_presence("parameters")?;
    }
    if let Some(resume) = request.member("resume")? {
        resume.require_object()?;
        resume.require_text("interruptId")?;
        resume.require_presence("payload")?;
    }
    request.text("conversationId")
}

fn ui(request: &Part<'_>) -> Result<(), Violation> {
    request.require("messages")?;
    for message in request.list("messages")? {
        message.text("id")?;
        message.require_text("role")?;
        // AG-UI 1.0 drops messages with unknown roles.
        match json::text_member(message.text, "role").unwrap_or_default().as_str() {
            "user" => message.require_text_or_parts("content")?,
            "tool" => {
                message.require_text_or_parts("content")?;
                message.require_text("toolCallId")?;
            }
            role @ ("developer" | "system" | "assistant") => common_message(&message, role)?,
            _ => {}
        }
    }
    tools(request)?;
    for context in request.list("context")? {
        context.require_text("description")?;
        context.require_text("value")?;
    }
    if request.member("resume")?.is_none_or(|resume| !resume.text.starts_with('{')) {
        for resume in request.list("resume")? {
            resume.require_text("interruptId")?;
            resume.one_of("status", &["resolved", "cancelled"])?;
        }
    }
    ["threadId", "runId", "parentRunId"].iter().try_for_each(|name| request.text(name))
}

/// Checks a message whose form is the same in both dialects.
fn common_message(message: &Part<'_>, role: &str) -> Result<(), Violation> {
    match role {
        "assistant" => {
            message.text("content")?;
            tool_calls(message)
        }
        "tool" => {
            message.require_text("content")?;
            message.require_text("toolCallId")
        }
        _ => message.require_text("content"),
    }
}

fn tool_calls(message: &Part<'_>) -> Result<(), Violation> {
    for call in message.list("toolCalls")? {
        call.require_text("id")?;
        if call.member("type")?.is_some() {
            call.one_of("type", &["function"])?;
        }
        let function = call.require("function")?;
        function.require_object()?;
        function.require_text("name")?;
        function.require_text("arguments")?;
    }
    Ok(())
}

fn tools<'a>(request: &Part<'a>) -> Result<Vec<Part<'a>>, Violation> {
    let tools = request.list("tools")?;
    for tool in &tools {
        tool.require_text("name")?;
        tool.require_text("description")?;
    }
    Ok(tools)
}

/// A value in a request and its path.
struct Part<'a> {
    path: String,
    text: &'a str,
}

impl<'a> Part<'a> {
    fn violation(&self, rule: &str) -> Violation {
        Violation { member: self.path.clone(), rule: rule.to_owned() }
    }

    /// The member; `None` if it is missing or `null`.
    fn member(&self, name: &str) -> Result<Option<Part<'a>>, Violation> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let pointer: Pointer = format!("/{name}").parse().map_err(|_| self.violation("a name without slashes"))?;
        match pointer.find(self.text) {
            Found::Nothing | Found::Value("null") => Ok(None),
            Found::Value(text) => Ok(Some(Part { path, text })),
            Found::Ambiguous => Err(Violation { member: path, rule: "the member occurs twice".to_owned() }),
        }
    }

    /// Checks that a member exists, with any value including `null`.
    fn require_presence(&self, name: &str) -> Result<(), Violation> {
        if json::has_member(self.text, name) { Ok(()) } else { self.require(name).map(drop) }
    }

    fn require(&self, name: &str) -> Result<Part<'a>, Violation> {
        let member = self.member(name)?;
        member.ok_or_else(|| Violation {
            member: if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) },
            rule: "the member is required".to_owned(),
        })
    }

    /// Checks that a member is a string if it exists.
    fn text(&self, name: &str) -> Result<(), Violation> {
        match self.member(name)? {
            Some(member) if !member.text.starts_with('"') => Err(member.violation("a string is needed")),
            _ => Ok(()),
        }
    }

    fn require_text(&self, name: &str) -> Result<(), Violation> {
        self.require(name)?;
        self.text(name)
    }

    fn require_text_or_parts(&self, name: &str) -> Result<(), Violation> {
        let member = self.require(name)?;
        let is_text_or_array = member.text.starts_with(['"', '[']);
        if is_text_or_array { Ok(()) } else { Err(member.violation("a string or an array is needed")) }
    }

    fn one_of(&self, name: &str, allowed: &[&'static str]) -> Result<&'static str, Violation> {
        let member = self.require(name)?;
        let text: Option<String> = serde_json::from_str(member.text).ok();
        let found = allowed.iter().find(|value| text.as_deref() == Some(**value)).copied();
        found.ok_or_else(|| member.violation(&format!("one of {} is needed", allowed.join(", "))))
    }

    /// The elements of an array of objects; empty if the member is missing.
    fn list(&self, name: &str) -> Result<Vec<Part<'a>>, Violation> {
        let Some(list) = self.member(name)? else { return Ok(Vec::new()) };
        let elements: Result<Vec<&serde_json::value::RawValue>, _> = serde_json::from_str(list.text);
        let elements = elements.map_err(|_| list.violation("an array is needed"))?;
        let part = |(n, element): (usize, &'a serde_json::value::RawValue)| {
            let part = Part { path: format!("{}[{n}]", list.path), text: element.get() };
            part.require_object().map(|()| part)
        };
        elements.into_iter().enumerate().map(part).collect()
    }

    fn require_object(&self) -> Result<(), Violation> {
        if self.text.starts_with('{') { Ok(()) } else { Err(self.violation("an object is needed")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kit(request: Value) -> String {
        check(Dialect::AgKit, &request.to_string()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn ui(request: Value) -> String {
        check(Dialect::AgUi, &request.to_string()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn documented_requests_pass_with_unknown_members() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let tool = json!({"name": "f", "description": "d", "parameters": {"type": "object"}});
        for request in [
            json!({}),
            json!({"messages": [], "new": 1}),
            json!({"conversationId": "c", "messages": [{"role": "user", "content": "x", "new": 1}, {"role": "system", "content": ""},
                {"role": "assistant", "content": null, "toolCalls": [call]}, {"role": "tool", "content": "x", "toolCallId": "c"}],
                "tools": [tool]}),
            json!({"conversationId": "c", "resume": {"interruptId": "i", "payload": {"any": "JSON"}}}),
            json!({"conversationId": "c", "resume": {"interruptId": "i", "payload": null}}),
            json!({"conversationId": "c", "messages": [], "runId": "r", "forwardedProps": {}}),
        ] {
            assert_eq!(kit(request.clone()), "", "{request}");
        }
        for request in [
            json!({"messages": []}),
            // AG-UI 1.0: a tool without parameters and a result in parts.
            json!({"threadId": "t", "tools": [{"name": "f", "description": "d"}], "messages": [
                {"id": "3", "role": "tool", "toolCallId": "c", "content": [{"type": "text", "text": "42"}]}]}),
            json!({"threadId": "t", "messages": [{"id": "1", "role": "of-next-year"}]}),
            // The draft of interrupts.
            json!({"threadId": "t", "messages": [], "resume": {"interruptId": "i", "payload": true}}),
            // A tool call without a type, and a member that the other dialect has.
            json!({"threadId": "t", "conversationId": "c", "messages": [{"id": "1", "role": "assistant",
                "toolCalls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}]}),
            json!({"threadId": "t", "runId": "r", "state": {}, "context": [{"description": "d", "value": "v"}], "forwardedProps": {},
                "messages": [{"id": "1", "role": "user", "content": [{"type": "text", "text": "x"}]}, {"role": "developer", "content": "x"},
                {"role": "assistant", "toolCalls": [call]}, {"role": "tool", "content": "x", "toolCallId": "c"}, {"role": "reasoning"}],
                "tools": [tool], "resume": [{"interruptId": "i", "status": "resolved", "payload": true}]}),
        ] {
            assert_eq!(ui(request.clone()), "", "{request}");
        }
    }

    #[test]
    fn errors_give_member_and_rule_and_never_quote_the_request() {
        let message = |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
        for (request, expected) in [
            (json!({"messages": "secret"}), "messages: an array is needed"),
            (message(json!("secret")), "messages[1]: an object is needed"),
            (message(json!({"content": "secret"})), "messages[1].role: the member is required"),
            (message(json!({"role": "secret"})), "messages[1].role: one of system, user, assistant, tool is needed"),
            (message(json!({"role": "user"})), "messages[1].content: the member is required"),
            (message(json!({"role": "user", "content": ["secret"]})), "messages[1].content: a string is needed"),
            (message(json!({"role": "tool", "content": "secret"})), "messages[1].toolCallId: the member is required"),
            (
                message(json!({"role": "assistant", "toolCalls": [{"id": 7}]})),
                "messages[1].toolCalls[0].id: a string is needed",
            ),
            (json!({"tools": [{"name": "f", "description": "d"}]}), "tools[0].parameters: the member is required"),
            (json!({"resume": "secret"}), "resume: an object is needed"),
            (json!({"resume": {"interruptId": "i"}}), "resume.payload: the member is required"),
            (json!({"conversationId": 7}), "conversationId: a string is needed"),
        ] {
            assert_eq!(kit(request), expected);
        }
        for (request, expected) in [
            (json!({}), "messages: the member is required"),
            (message(json!({"content": "x"})), "messages[1].role: the member is required"),
            (message(json!({"role": 7})), "messages[1].role: a string is needed"),
            (message(json!({"role": "user", "content": 7})), "messages[1].content: a string or an array is needed"),
            (
                json!({"messages": [], "resume": [{"interruptId": "i", "status": "secret"}]}),
                "resume[0].status: one of resolved, cancelled is needed",
            ),
            (json!({"messages": [], "runId": {}}), "runId: a string is needed"),
            (
                message(json!({"role": "tool", "toolCallId": "c", "content": {"secret": 1}})),
                "messages[1].content: a string or an array is needed",
            ),
            (message(json!({"role": "tool", "content": []})), "messages[1].toolCallId: the member is required"),
            (message(json!({"role": "system", "content": []})), "messages[1].content: a string is needed"),
            (json!({"messages": [], "tools": [{"name": "f"}]}), "tools[0].description: the member is required"),
        ] {
            assert_eq!(ui(request), expected);
        }
        let twice = check(Dialect::AgKit, r#"{"messages":[],"messages":"secret"}"#).unwrap_err();
        assert_eq!(twice.to_string(), "messages: the member occurs twice");
    }

    #[test]
    fn request_in_the_other_dialect_is_rejected_with_both_names() {
        for request in
            [json!({"threadId": "t", "messages": []}), json!({"messages": [], "resume": []}), json!({"runId": null})]
        {
            assert!(kit(request.clone()).contains("in the dialect ag-ui; this agent speaks ag-kit"), "{request}");
        }
        for request in
            [json!({"conversationId": "c", "messages": []}), json!({"messages": [], "resume": {"interruptId": "i"}})]
        {
            assert!(ui(request.clone()).contains("in the dialect ag-kit; this agent speaks ag-ui"), "{request}");
        }
    }
}
