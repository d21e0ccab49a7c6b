//! Checks a request against its dialect before it goes to an agent: an agent that is asked in the other dialect answers
//! all the same, and loses the conversation.
//!
//! A request is refused only where every era of its dialect forbids it. AG-UI 0.x wants a tool's `parameters` and text
//! from a tool, 1.0 takes tools without and parts as well, and drops messages of unknown roles; the draft of interrupts
//! resumes with one object, 1.0 with a list. Servers give a tool call its `type`.

use std::fmt;

use crate::json;
use crate::pointer::{Found, Pointer};

use super::Dialect;

/// Which rule a request breaks, and where. Shows nothing of what was sent: members are named by the dialect's own names
/// and by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Such as `messages[2].content`; empty for the request itself.
    pub member: String,
    /// What would be right.
    pub rule: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member.is_empty() { f.write_str(&self.rule) } else { write!(f, "{}: {}", self.member, self.rule) }
    }
}

impl std::error::Error for Wrong {}

/// Checks a request, which is a JSON object's text. Members that the dialect does not know may be there.
///
/// # Errors
/// The first rule it breaks.
pub fn check(dialect: Dialect, request: &str) -> Result<(), Wrong> {
    let request = Part { path: String::new(), text: request };
    of_this_dialect(dialect, &request)?;
    match dialect {
        Dialect::AgKit => kit(&request),
        Dialect::AgUi => ui(&request),
    }
}

/// Refuses a request that has a mark of the other dialect and none of its own.
fn of_this_dialect(dialect: Dialect, request: &Part<'_>) -> Result<(), Wrong> {
    const KIT: &[&str] = &["conversationId"];
    const UI: &[&str] = &["threadId", "runId", "parentRunId", "forwardedProps"];
    let (own, foreign, other) = match dialect {
        Dialect::AgKit => (KIT, UI, Dialect::AgUi),
        Dialect::AgUi => (UI, KIT, Dialect::AgKit),
    };
    if own.iter().any(|name| json::has_member(request.text, name)) {
        return Ok(());
    }
    let resume = request.member("resume")?.map(|resume| resume.text.starts_with('['));
    let foreign_resume = resume.is_some_and(|is_list| is_list != (dialect == Dialect::AgUi));
    let mark = foreign.iter().find(|name| json::has_member(request.text, name));
    match mark.copied().or(foreign_resume.then_some("resume")) {
        None => Ok(()),
        Some(name) => {
            let rule = format!("this is a request in the dialect {other}; this agent speaks {dialect}");
            Err(Wrong { member: name.to_owned(), rule })
        }
    }
}

fn kit(request: &Part<'_>) -> Result<(), Wrong> {
    for message in request.list("messages")? {
        said(&message, message.word("role", &["system", "user", "assistant", "tool"])?)?;
    }
    for tool in tools(request)? {
        tool.has("parameters")?;
    }
    if let Some(resume) = request.member("resume")? {
        resume.is_object()?;
        resume.needs_text("interruptId")?;
        resume.has("payload")?;
    }
    request.text("conversationId")
}

fn ui(request: &Part<'_>) -> Result<(), Wrong> {
    request.needs("messages")?;
    for message in request.list("messages")? {
        message.text("id")?;
        message.needs_text("role")?;
        // 1.0 drops a message of a role it does not know.
        match json::text_member(message.text, "role").unwrap_or_default().as_str() {
            "user" => message.needs_text_or_parts("content")?,
            "tool" => {
                message.needs_text_or_parts("content")?;
                message.needs_text("toolCallId")?;
            }
            role @ ("developer" | "system" | "assistant") => said(&message, role)?,
            _ => {}
        }
    }
    tools(request)?;
    for context in request.list("context")? {
        context.needs_text("description")?;
        context.needs_text("value")?;
    }
    if request.member("resume")?.is_none_or(|resume| !resume.text.starts_with('{')) {
        for resume in request.list("resume")? {
            resume.needs_text("interruptId")?;
            resume.word("status", &["resolved", "cancelled"])?;
        }
    }
    ["threadId", "runId", "parentRunId"].iter().try_for_each(|name| request.text(name))
}

/// A message whose form both dialects share.
fn said(message: &Part<'_>, role: &str) -> Result<(), Wrong> {
    match role {
        "assistant" => {
            message.text("content")?;
            tool_calls(message)
        }
        "tool" => {
            message.needs_text("content")?;
            message.needs_text("toolCallId")
        }
        _ => message.needs_text("content"),
    }
}

fn tool_calls(message: &Part<'_>) -> Result<(), Wrong> {
    for call in message.list("toolCalls")? {
        call.needs_text("id")?;
        if call.member("type")?.is_some() {
            call.word("type", &["function"])?;
        }
        let function = call.needs("function")?;
        function.is_object()?;
        function.needs_text("name")?;
        function.needs_text("arguments")?;
    }
    Ok(())
}

fn tools<'a>(request: &Part<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    let tools = request.list("tools")?;
    for tool in &tools {
        tool.needs_text("name")?;
        tool.needs_text("description")?;
    }
    Ok(tools)
}

/// A value in a request, and where it is.
struct Part<'a> {
    path: String,
    text: &'a str,
}

impl<'a> Part<'a> {
    fn wrong(&self, rule: &str) -> Wrong {
        Wrong { member: self.path.clone(), rule: rule.to_owned() }
    }

    /// A member that is there and not `null`.
    fn member(&self, name: &str) -> Result<Option<Part<'a>>, Wrong> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let pointer: Pointer = format!("/{name}").parse().map_err(|_| self.wrong("a name without slashes"))?;
        match pointer.find(self.text) {
            Found::Nothing | Found::Value("null") => Ok(None),
            Found::Value(text) => Ok(Some(Part { path, text })),
            Found::Ambiguous => Err(Wrong { member: path, rule: "it stands twice".to_owned() }),
        }
    }

    /// A member in whatever form, `null` included.
    fn has(&self, name: &str) -> Result<(), Wrong> {
        if json::has_member(self.text, name) { Ok(()) } else { self.needs(name).map(drop) }
    }

    fn needs(&self, name: &str) -> Result<Part<'a>, Wrong> {
        let member = self.member(name)?;
        member.ok_or_else(|| Wrong {
            member: if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) },
            rule: "it is needed".to_owned(),
        })
    }

    /// Checks a text that may be missing.
    fn text(&self, name: &str) -> Result<(), Wrong> {
        match self.member(name)? {
            Some(member) if !member.text.starts_with('"') => Err(member.wrong("a string is needed")),
            _ => Ok(()),
        }
    }

    fn needs_text(&self, name: &str) -> Result<(), Wrong> {
        self.needs(name)?;
        self.text(name)
    }

    fn needs_text_or_parts(&self, name: &str) -> Result<(), Wrong> {
        let member = self.needs(name)?;
        let is_either = member.text.starts_with(['"', '[']);
        if is_either { Ok(()) } else { Err(member.wrong("a string or an array is needed")) }
    }

    fn word(&self, name: &str, words: &[&'static str]) -> Result<&'static str, Wrong> {
        let member = self.needs(name)?;
        let text: Option<String> = serde_json::from_str(member.text).ok();
        let known = words.iter().find(|word| text.as_deref() == Some(**word)).copied();
        known.ok_or_else(|| member.wrong(&format!("one of {} is needed", words.join(", "))))
    }

    /// The elements of a member that may be missing: objects.
    fn list(&self, name: &str) -> Result<Vec<Part<'a>>, Wrong> {
        let Some(list) = self.member(name)? else { return Ok(Vec::new()) };
        let elements: Result<Vec<&serde_json::value::RawValue>, _> = serde_json::from_str(list.text);
        let elements = elements.map_err(|_| list.wrong("an array is needed"))?;
        let part = |(n, element): (usize, &'a serde_json::value::RawValue)| {
            let part = Part { path: format!("{}[{n}]", list.path), text: element.get() };
            part.is_object().map(|()| part)
        };
        elements.into_iter().enumerate().map(part).collect()
    }

    fn is_object(&self) -> Result<(), Wrong> {
        if self.text.starts_with('{') { Ok(()) } else { Err(self.wrong("an object is needed")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kit(request: Value) -> String {
        check(Dialect::AgKit, &request.to_string()).err().map(|wrong| wrong.to_string()).unwrap_or_default()
    }

    fn ui(request: Value) -> String {
        check(Dialect::AgUi, &request.to_string()).err().map(|wrong| wrong.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_the_dialects_document_is_right_with_whatever_else_beside_it() {
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
            // AG-UI 1.0: tools without parameters, parts from a tool.
            json!({"threadId": "t", "tools": [{"name": "f", "description": "d"}], "messages": [
                {"id": "3", "role": "tool", "toolCallId": "c", "content": [{"type": "text", "text": "42"}]}]}),
            json!({"threadId": "t", "messages": [{"id": "1", "role": "of-next-year"}]}),
            // The draft of interrupts.
            json!({"threadId": "t", "messages": [], "resume": {"interruptId": "i", "payload": true}}),
            // A call whose type the server fills in, and members that the other dialect happens to have.
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
    fn the_member_and_the_rule_are_named_and_nothing_that_was_sent() {
        let message = |message: Value| json!({"messages": [{"role": "user", "content": "x"}, message]});
        for (request, told) in [
            (json!({"messages": "secret"}), "messages: an array is needed"),
            (message(json!("secret")), "messages[1]: an object is needed"),
            (message(json!({"content": "secret"})), "messages[1].role: it is needed"),
            (message(json!({"role": "secret"})), "messages[1].role: one of system, user, assistant, tool is needed"),
            (message(json!({"role": "user"})), "messages[1].content: it is needed"),
            (message(json!({"role": "user", "content": ["secret"]})), "messages[1].content: a string is needed"),
            (message(json!({"role": "tool", "content": "secret"})), "messages[1].toolCallId: it is needed"),
            (
                message(json!({"role": "assistant", "toolCalls": [{"id": 7}]})),
                "messages[1].toolCalls[0].id: a string is needed",
            ),
            (json!({"tools": [{"name": "f", "description": "d"}]}), "tools[0].parameters: it is needed"),
            (json!({"resume": "secret"}), "resume: an object is needed"),
            (json!({"resume": {"interruptId": "i"}}), "resume.payload: it is needed"),
            (json!({"conversationId": 7}), "conversationId: a string is needed"),
        ] {
            assert_eq!(kit(request), told);
        }
        for (request, told) in [
            (json!({}), "messages: it is needed"),
            (message(json!({"content": "x"})), "messages[1].role: it is needed"),
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
            (message(json!({"role": "tool", "content": []})), "messages[1].toolCallId: it is needed"),
            (message(json!({"role": "system", "content": []})), "messages[1].content: a string is needed"),
            (json!({"messages": [], "tools": [{"name": "f"}]}), "tools[0].description: it is needed"),
        ] {
            assert_eq!(ui(request), told);
        }
        let twice = check(Dialect::AgKit, r#"{"messages":[],"messages":"secret"}"#).unwrap_err();
        assert_eq!(twice.to_string(), "messages: it stands twice");
    }

    #[test]
    fn a_request_in_the_other_dialect_is_told_to_be_one() {
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
