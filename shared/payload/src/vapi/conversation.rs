//! What is said in a call, and the tools that are called.

use crate::wire::{Bag, Item, Number, Raw};

use super::object::Time;

union! {
    /// An entry of a conversation. The schema has no discriminator, and its alternatives overlap; in fact `role` tells them
    /// apart.
    Entry by "role" {
        /// What the assistant is told to be.
        System(SystemEntry) = "system",
        /// What the customer said.
        User(UserEntry) = "user",
        /// What the assistant said.
        Bot(BotEntry) = "bot" | "assistant",
        /// Tools the assistant called.
        ToolCalls(ToolCallsEntry) = "tool_calls",
        /// What a tool answered.
        ToolCallResult(ToolCallResultEntry) = "tool_call_result",
    }
}

/// A struct for an entry: what all have, and its own members.
macro_rules! entry {
    ($(#[$about:meta])* $name:ident { $($rest:tt)* }) => {
        object! {
            $(#[$about])*
            $name {
                /// Tells the kinds apart.
                role: String = "role",
                /// What was said.
                message: String = "message",
                /// When.
                time: Time = "time",
                /// When, in seconds since the call began.
                seconds_from_start: Number = "secondsFromStart",
                $($rest)*
            }
        }
    };
}

entry! {
    /// `system`
    SystemEntry {}
}

entry! {
    /// `user`
    UserEntry {
        /// Until when.
        end_time: Time = "endTime",
        /// How long: in milliseconds, though documented in seconds.
        duration: Number = "duration",
        /// Whether something was left out of it.
        is_filtered: bool = "isFiltered",
        /// What was found in it.
        detected_threats: Vec<Item<String>> = "detectedThreats",
        /// What it was before.
        original_message: String = "originalMessage",
        /// More about it.
        metadata: Bag = "metadata",
        /// Who spoke.
        speaker_label: String = "speakerLabel",
    }
}

entry! {
    /// `bot`
    BotEntry {
        /// Until when.
        end_time: Time = "endTime",
        /// How long: in milliseconds, though documented in seconds.
        duration: Number = "duration",
        /// Why it was said.
        source: String = "source",
        /// Which assistant spoke, by name.
        assistant_name: String = "assistantName",
        /// Which assistant spoke, by id.
        assistant_id: String = "assistantId",
    }
}

entry! {
    /// `tool_calls`
    ToolCallsEntry {
        /// Which tools, with what.
        tool_calls: Vec<Item<ToolCall>> = "toolCalls",
    }
}

entry! {
    /// `tool_call_result`
    ToolCallResultEntry {
        /// Which call it answers.
        tool_call_id: String = "toolCallId",
        /// The tool's name.
        name: String = "name",
        /// What it answered.
        result: String = "result",
        /// More about it.
        metadata: Bag = "metadata",
        /// What was odd about it.
        warnings: Vec<Item<Raw>> = "warnings",
    }
}

object! {
    /// A message as OpenAI's API writes it.
    OpenAiMessage {
        /// As whom.
        role: OpenAiRole = "role",
        /// The text, up to 100 million characters, or `null`.
        content: String = "content",
        /// Observed: tools that were called.
        tool_calls: Vec<Item<ToolCall>> = "tool_calls",
        /// Observed: which call this answers.
        tool_call_id: String = "tool_call_id",
    }
}

words! {
    /// As whom a message is written.
    OpenAiRole {
        /// The assistant.
        Assistant = "assistant",
        /// A function's result.
        Function = "function",
        /// The customer.
        User = "user",
        /// The instructions.
        System = "system",
        /// A tool's result.
        Tool = "tool",
    }
}

object! {
    /// A tool call. Three forms are documented: this one, `{id, name, parameters}` and `{id, name, arguments}`.
    ToolCall {
        /// Names the call; the result must carry it.
        id: String = "id",
        /// `function`
        kind: String = "type",
        /// Which function, with what.
        function: FunctionCall = "function",
        /// In the other two forms: the function's name.
        name: String = "name",
        /// In the second form: the arguments.
        parameters: Raw = "parameters",
        /// In the third form: the arguments.
        arguments: Raw = "arguments",
    }
}

object! {
    /// A function with its arguments.
    FunctionCall {
        /// Its name, up to 80 characters.
        name: String = "name",
        /// A JSON object in every capture, a string that holds one in the schema: both occur, even in one delivery.
        arguments: Raw = "arguments",
    }
}

union! {
    /// A tool with the call to it, told apart by `type`.
    ToolWithToolCall by "type" {
        /// A function of the integrator's.
        Function(ToolAndCall) = "function",
        /// A workflow at GoHighLevel.
        Ghl(ToolAndCall) = "ghl",
        /// A scenario at Make.
        Make(ToolAndCall) = "make",
        /// A shell.
        Bash(ToolAndCall) = "bash",
        /// A screen.
        Computer(ToolAndCall) = "computer",
        /// An editor.
        TextEditor(ToolAndCall) = "textEditor",
        /// An entry in a calendar.
        GoogleCalendarEventCreate(ToolAndCall) = "google.calendar.event.create",
    }
}

object! {
    /// A tool with the call to it.
    ToolAndCall {
        /// Tells the kinds apart.
        kind: String = "type",
        /// The call.
        tool_call: ToolCall = "toolCall",
        /// What is said meanwhile.
        messages: Vec<Item<Raw>> = "messages",
        /// Whether the caller does not wait for the result.
        is_async: bool = "async",
        /// Where it is called; its `secret` may be among it.
        server: Bag = "server",
        /// What the model is told of it.
        function: Bag = "function",
        /// `ghl`, `make`: which workflow or scenario.
        metadata: Bag = "metadata",
        /// `bash`, `computer`, `textEditor`: which version of it.
        sub_type: String = "subType",
        /// `bash`, `computer`, `textEditor`: its name.
        name: String = "name",
        /// `computer`: width in pixels.
        display_width_px: Number = "displayWidthPx",
        /// `computer`: height in pixels.
        display_height_px: Number = "displayHeightPx",
    }
}
