//! A turn, put together from the events of an answer: what was said, which tools were called, how it ended.

use std::collections::HashMap;

use crate::json;
use crate::wire::{Field, Item, Raw, read};

use super::{Dialect, kit, ui};

/// What came of a turn so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    dialect: Dialect,
    /// Whether what is said is kept, or only how it ends.
    keeps: bool,
    /// Where in `tool_calls` a call is, by its id.
    places: HashMap<String, usize>,
    /// The agent's text, its pieces joined.
    pub text: String,
    /// The tools it called, in the order in which it began to.
    pub tool_calls: Vec<Call>,
    /// What it waits for: AG-Kit's `interrupt` events, the elements of AG-UI's `interrupts`, or the values of its `on_interrupt`.
    pub interrupts: Vec<Raw>,
    /// What it used, where it says so.
    pub usage: Vec<Raw>,
    /// How it ended; `None` as long as it has not.
    pub end: Option<End>,
    /// How many events were no JSON object, or of no documented kind.
    pub odd: usize,
    /// How many events came.
    pub events: usize,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// Names it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, their pieces joined: JSON text once it is complete.
    pub arguments: String,
    /// What it answered. Without a result the call is for the client to do.
    pub result: Option<String>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Well.
    Completed,
    /// It waits for decisions.
    Interrupted,
    /// It failed. A word or two, without what was said.
    Failed(String),
}

/// What AG-Kit's answers end with, in place of an event.
const DONE: &str = "[DONE]";

impl Turn {
    /// A turn in a dialect, of which nothing has come yet.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Turn {
            dialect,
            keeps: true,
            places: HashMap::new(),
            text: String::new(),
            tool_calls: Vec::new(),
            interrupts: Vec::new(),
            usage: Vec::new(),
            end: None,
            odd: 0,
            events: 0,
        }
    }

    /// The same, for whoever wants to know no more than how it ends: nothing grows with what is said.
    #[must_use]
    pub fn watched(dialect: Dialect) -> Self {
        Turn { keeps: false, ..Self::new(dialect) }
    }

    /// Takes the next event's data.
    pub fn take(&mut self, data: &str) {
        self.events += 1;
        if data.trim() == DONE {
            // Older AG-UI servers send it behind their own end, and it is no end there.
            if self.dialect == Dialect::AgKit && self.end.is_none() {
                let waits = !self.interrupts.is_empty();
                self.end = Some(if waits { End::Interrupted } else { End::Completed });
            }
            return;
        }
        if !self.keeps && self.only_says(data) {
            return;
        }
        let known = match self.dialect {
            Dialect::AgKit => read(data).ok().is_some_and(|event| self.take_kit(event)),
            Dialect::AgUi => read(data).ok().is_some_and(|event| self.take_ui(event)),
        };
        self.odd += usize::from(!known);
    }

    /// Whether an event, of a documented kind, can neither end the turn nor keep it waiting: most are, and they are the large
    /// ones, so whoever only watches reads no more of them than their type.
    fn only_says(&self, data: &str) -> bool {
        let Some(kind) = json::text_member(data, "type") else { return false };
        let (kinds, deciding): (_, &[&str]) = match self.dialect {
            Dialect::AgKit => (kit::Event::KINDS, &["interrupt", "error"]),
            Dialect::AgUi => (ui::Event::KINDS, &["RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "CUSTOM"]),
        };
        kinds.contains(&kind.as_str()) && !deciding.contains(&kind.as_str())
    }

    /// Whether the event was of a documented kind.
    fn take_kit(&mut self, event: kit::Event) -> bool {
        use kit::Event as E;
        match event {
            E::Text(event) => self.say(event.content.get()),
            E::ToolCallStart(event) => self.begin(event.tool_call_id.get(), event.tool_call_name.get()),
            E::ToolCallArgs(event) => self.argue(event.tool_call_id.get(), event.delta.get()),
            E::ToolCallEnd(_) => {}
            E::ToolResult(event) => self.result(event.tool_call_id.get(), event.result.get()),
            E::Interrupt(event) => self.wait_for(raw(&event)),
            E::Failure(_) => self.fail("error"),
            // Without a type, and before anything else: it could not begin.
            E::Other(raw) => {
                let failure = raw.read::<kit::CouldNotBegin>().ok().filter(|failure| failure.error.get().is_some());
                let could_not_begin = failure.is_some() && self.events == 1;
                if could_not_begin {
                    self.fail("could not begin");
                }
                return could_not_begin;
            }
        }
        true
    }

    fn take_ui(&mut self, event: ui::Event) -> bool {
        use ui::Event as E;
        match event {
            E::TextMessageContent(event) => self.say(event.delta.get()),
            E::TextMessageChunk(event) => self.say(event.delta.get()),
            E::ToolCallStart(event) => self.begin(event.tool_call_id.get(), event.tool_call_name.get()),
            E::ToolCallArgs(event) => self.argue(event.tool_call_id.get(), event.delta.get()),
            E::ToolCallChunk(event) => {
                if event.tool_call_name.get().is_some() {
                    self.begin(event.tool_call_id.get(), event.tool_call_name.get());
                }
                self.argue(event.tool_call_id.get(), event.delta.get());
            }
            E::ToolCallResult(event) => self.result(event.tool_call_id.get(), event.content.get()),
            E::Custom(event) if event.name.get().is_some_and(|name| name == "on_interrupt") => {
                self.wait_for(event.value.get().cloned());
            }
            E::RunFinished(event) => {
                self.used(&event.usage);
                if let Some(ui::Outcome::Interrupt(waits)) = event.outcome.get() {
                    waits.interrupts.get().into_iter().flatten().for_each(|waits| self.wait_for(raw(waits)));
                }
                let waits = !self.interrupts.is_empty();
                self.end.get_or_insert(if waits { End::Interrupted } else { End::Completed });
            }
            // Several runs may follow each other in one answer.
            E::RunStarted(_) => {
                if matches!(self.end, Some(End::Completed | End::Interrupted)) {
                    self.end = None;
                }
            }
            E::RunError(event) => {
                self.used(&event.usage);
                // Its message may quote what was said.
                self.fail("RUN_ERROR");
            }
            E::Other(_) => return false,
            _ => {}
        }
        true
    }

    fn wait_for(&mut self, what: Option<Raw>) {
        if self.keeps || self.interrupts.is_empty() {
            self.interrupts.extend(what);
        }
    }

    fn used(&mut self, usage: &Field<Vec<Item<ui::Usage>>>) {
        if self.keeps {
            self.usage.extend(usage.get().into_iter().flatten().filter_map(raw));
        }
    }

    fn say(&mut self, text: Option<&String>) {
        if !self.keeps {
            return;
        }
        self.text.push_str(text.map(String::as_str).unwrap_or_default());
    }

    /// The call of this id, which begins here if nobody has begun it.
    fn call(&mut self, id: Option<&String>) -> &mut Call {
        let id = id.map(String::as_str).unwrap_or_default();
        let next = self.tool_calls.len();
        let at = *self.places.entry(id.to_owned()).or_insert(next);
        if at == next {
            self.tool_calls.push(Call { id: id.to_owned(), ..Call::default() });
        }
        &mut self.tool_calls[at]
    }

    fn begin(&mut self, id: Option<&String>, name: Option<&String>) {
        if !self.keeps {
            return;
        }
        self.call(id).name = name.cloned().unwrap_or_default();
    }

    fn argue(&mut self, id: Option<&String>, delta: Option<&String>) {
        if !self.keeps {
            return;
        }
        self.call(id).arguments.push_str(delta.map(String::as_str).unwrap_or_default());
    }

    fn result(&mut self, id: Option<&String>, result: Option<&String>) {
        if !self.keeps {
            return;
        }
        self.call(id).result = Some(result.cloned().unwrap_or_default());
    }

    fn fail(&mut self, why: &str) {
        self.end.get_or_insert_with(|| End::Failed(why.to_owned()));
    }
}

/// A value as JSON text again.
fn raw(value: &impl serde::Serialize) -> Option<Raw> {
    read(&serde_json::to_string(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(dialect: Dialect, events: &[&str]) -> Turn {
        let mut turn = Turn::new(dialect);
        events.iter().for_each(|event| turn.take(event));
        turn
    }

    #[test]
    fn an_ag_kit_answer_is_its_text_its_calls_and_done() {
        let turn = turn(
            Dialect::AgKit,
            &[
                r#"{"type":"text","content":"It is "}"#,
                r#"{"type":"tool-call-start","toolCallId":"a","toolCallName":"clock"}"#,
                r#"{"type":"tool-call-start","toolCallId":"b","toolCallName":"map"}"#,
                r#"{"type":"tool-call-args","toolCallId":"a","delta":"{\"zone\":"}"#,
                r#"{"type":"tool-call-args","toolCallId":"b","delta":"{}"}"#,
                r#"{"type":"tool-call-args","toolCallId":"a","delta":"\"UTC\"}"}"#,
                r#"{"type":"tool-call-end","toolCallId":"a"}"#,
                r#"{"type":"tool-result","toolCallId":"a","result":"nine"}"#,
                r#"{"type":"text","content":"nine."}"#,
                "[DONE]",
            ],
        );
        assert_eq!((turn.text.as_str(), turn.end, turn.odd), ("It is nine.", Some(End::Completed), 0));
        let calls: Vec<_> =
            turn.tool_calls.iter().map(|c| (c.name.as_str(), c.arguments.as_str(), c.result.as_deref())).collect();
        assert_eq!(calls, [("clock", r#"{"zone":"UTC"}"#, Some("nine")), ("map", "{}", None)]);
    }

    #[test]
    fn an_interrupt_is_waited_for_and_nothing_ends_without_an_end() {
        let interrupt = r#"{"type":"interrupt","id":"i","reason":null,"payload":[1]}"#;
        assert_eq!(turn(Dialect::AgKit, &[interrupt]).end, None);
        let interrupted = turn(Dialect::AgKit, &[interrupt, "[DONE]"]);
        assert_eq!((interrupted.end, interrupted.interrupts.len()), (Some(End::Interrupted), 1));
        let custom = r#"{"type":"CUSTOM","name":"on_interrupt","value":"{}"}"#;
        let finished = r#"{"type":"RUN_FINISHED","threadId":"t","runId":"r"}"#;
        assert_eq!(turn(Dialect::AgUi, &[custom, finished]).end, Some(End::Interrupted));
        let outcome = r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i"}]}}"#;
        assert_eq!(turn(Dialect::AgUi, &[outcome]).end, Some(End::Interrupted));
        assert_eq!(turn(Dialect::AgUi, &["[DONE]"]).end, None, "no end of this dialect");
    }

    #[test]
    fn a_turn_that_is_only_watched_ends_the_same_and_keeps_nothing() {
        let said = [
            r#"{"type":"text","content":"x"}"#,
            r#"{"type":"tool-call-args","toolCallId":"a","delta":"x"}"#,
            r#"{"type":"interrupt","id":"i","payload":1}"#,
            r#"{"type":"interrupt","id":"j","payload":1}"#,
            "[DONE]",
        ];
        let mut watched = Turn::watched(Dialect::AgKit);
        said.iter().for_each(|event| watched.take(event));
        assert_eq!((watched.end.clone(), watched.events), (turn(Dialect::AgKit, &said).end, 5));
        assert!(watched.text.is_empty() && watched.tool_calls.is_empty() && watched.interrupts.len() == 1);
    }

    #[test]
    fn a_failure_is_told_without_its_words_and_the_first_end_counts() {
        let untyped = r#"{"error": "Server error", "details": "secret"}"#;
        assert_eq!(turn(Dialect::AgKit, &[untyped]).end, Some(End::Failed("could not begin".to_owned())));
        let later = turn(Dialect::AgKit, &[r#"{"type":"text","content":"x"}"#, untyped]);
        assert_eq!((later.end, later.odd), (None, 1), "behind other events it is one nobody knows");
        let error = r#"{"type":"RUN_ERROR","message":"secret","code":"secret"}"#;
        let (started, finished) = (r#"{"type":"RUN_STARTED"}"#, r#"{"type":"RUN_FINISHED"}"#);
        assert_eq!(turn(Dialect::AgUi, &[started, finished, started]).end, None, "another run has begun");
        assert_eq!(turn(Dialect::AgUi, &[started, error, started]).end, Some(End::Failed("RUN_ERROR".to_owned())));
        assert_eq!(turn(Dialect::AgUi, &[error, error, finished]).end, Some(End::Failed("RUN_ERROR".to_owned())));
    }

    #[test]
    fn what_is_no_json_or_of_no_known_kind_is_counted_and_harms_nothing() {
        for dialect in [Dialect::AgKit, Dialect::AgUi] {
            let turn = turn(dialect, &["{not json", "7", "{}", r#"{"type":"of-next-year"}"#, r#"{"type":"\ud800"}"#]);
            assert_eq!((turn.odd, turn.events, turn.end), (5, 5, None), "{dialect}");
        }
    }
}
