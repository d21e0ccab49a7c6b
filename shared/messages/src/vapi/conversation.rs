//! The conversation of a call and its tool calls.
//!
//! Source: `UserMessage`, `BotMessage`, `OpenAIMessage`, `ToolCall` and others of Vapi's OpenAPI document
//! (<https://api.vapi.ai/api-json>, August 2026), and captures.

use gatehouse_payload::wire::{Item, JsonObject, Number, Raw};
use gatehouse_payload::{open_enum, open_struct, open_union};

use super::assistant::{FunctionDefinition, Server};
use super::object::Time;

open_union! {
    /// An entry of a conversation. The schema has no discriminator and its alternatives overlap. In practice `role`
    /// identifies the kind.
    Entry by "role" {
        /// The instructions of the assistant.
        System(SystemEntry) = "system",
        /// A customer's utterance.
        User(UserEntry) = "user",
        /// An assistant's utterance.
        Bot(BotEntry) = "bot",
        /// Tool calls by the assistant.
        ToolCalls(ToolCallsEntry) = "tool_calls",
        /// The result of a tool.
        ToolCallResult(ToolCallResultEntry) = "tool_call_result",
    }
}

/// Generates a struct for an entry from the members of all kinds and the members of this kind.
macro_rules! entry {
    ($(#[$attribute:meta])* $name:ident { $($members:tt)* }) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The kind of entry.
                role: String = "role",
                /// The text.
                message: String = "message",
                /// The time.
                time: Time = "time",
                /// Seconds since the start of the call or of the current assistant. It decreases when another assistant
                /// takes over.
                seconds_from_start: Number = "secondsFromStart",
                $($members)*
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
        /// The end.
        end_time: Time = "endTime",
        /// The duration. Documented in seconds, which was true in 2024; milliseconds in 2025.
        duration: Number = "duration",
        /// Whether parts of the text were removed.
        is_filtered: bool = "isFiltered",
        /// The threats that were detected in the text.
        detected_threats: Vec<Item<String>> = "detectedThreats",
        /// The text before filtering.
        original_message: String = "originalMessage",
        /// Additional data.
        metadata: JsonObject = "metadata",
        /// The label of the speaker.
        speaker_label: String = "speakerLabel",
    }
}

entry! {
    /// `bot`
    BotEntry {
        /// The end.
        end_time: Time = "endTime",
        /// The duration. Documented in seconds, which was true in 2024; milliseconds in 2025.
        duration: Number = "duration",
        /// The source of the text.
        source: String = "source",
        /// The name of the assistant that spoke.
        assistant_name: String = "assistantName",
        /// The id of the assistant that spoke.
        assistant_id: String = "assistantId",
    }
}

entry! {
    /// `tool_calls`
    ToolCallsEntry {
        /// The tool calls with their arguments.
        tool_calls: Vec<Item<ToolCall>> = "toolCalls",
    }
}

entry! {
    /// `tool_call_result`
    ToolCallResultEntry {
        /// The id of the tool call.
        tool_call_id: String = "toolCallId",
        /// The tool's name.
        name: String = "name",
        /// The result.
        result: String = "result",
        /// Additional data.
        metadata: JsonObject = "metadata",
        /// Warnings about the result.
        warnings: Vec<Item<Raw>> = "warnings",
    }
}

open_struct! {
    /// A message in OpenAI's format.
    OpenAiMessage {
        /// The role of the author.
        role: OpenAiRole = "role",
        /// The text, up to 100 million characters, or `null`.
        content: String = "content",
        /// Observed: the tool calls.
        tool_calls: Vec<Item<ToolCall>> = "tool_calls",
        /// Observed: the id of the tool call that this message answers.
        tool_call_id: String = "tool_call_id",
    }
}

open_enum! {
    /// The role of a message's author.
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

open_struct! {
    /// A tool call. Three forms are documented: this one, `{id, name, parameters}` and `{id, name, arguments}`.
    ToolCall {
        /// The id of the call, which the result must repeat.
        id: String = "id",
        /// `function`
        kind: String = "type",
        /// The function and its arguments.
        function: FunctionCall = "function",
        /// The function's name, in the other two forms.
        name: String = "name",
        /// The arguments, in the second form.
        parameters: Raw = "parameters",
        /// The arguments, in the third form.
        arguments: Raw = "arguments",
    }
}

open_struct! {
    /// A function and its arguments.
    FunctionCall {
        /// The function's name, up to 80 characters.
        name: String = "name",
        /// The arguments. An object in every capture, a string with JSON in the schema. Both occur, even in one
        /// delivery.
        arguments: Raw = "arguments",
    }
}

open_union! {
    /// A tool with a call of it; the kind depends on `type`.
    ToolWithToolCall by "type" {
        /// A function of the integrator.
        Function(FunctionTool) = "function",
        /// A GoHighLevel workflow.
        Ghl(GhlTool) = "ghl",
        /// A Make scenario.
        Make(MakeTool) = "make",
        /// A shell tool.
        Bash(BashTool) = "bash",
        /// A screen control tool.
        Computer(ComputerTool) = "computer",
        /// A text editor tool.
        TextEditor(TextEditorTool) = "textEditor",
        /// A tool that creates a calendar event.
        GoogleCalendarEventCreate(GoogleCalendarTool) = "google.calendar.event.create",
    }
}

/// Generates a struct for a tool with a call of it, from the members of all kinds and the members of this kind.
macro_rules! tool {
    ($(#[$attribute:meta])* $name:ident { $($members:tt)* }) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The kind of tool.
                kind: String = "type",
                /// The call. Required.
                tool_call: ToolCall = "toolCall",
                /// The messages that are spoken during the call of the tool.
                messages: Vec<Item<Raw>> = "messages",
                /// Whether the assistant continues without waiting for the result.
                is_async: bool = "async",
                /// The server that runs the tool; may contain its `secret`.
                server: Server = "server",
                /// The description of the function for the model.
                function: FunctionDefinition = "function",
                $($members)*
            }
        }
    };
}

tool! {
    /// `function`
    FunctionTool {}
}

tool! {
    /// `ghl`
    GhlTool {
        /// The workflow. Required.
        metadata: JsonObject = "metadata",
    }
}

tool! {
    /// `make`
    MakeTool {
        /// The scenario. Required.
        metadata: JsonObject = "metadata",
    }
}

tool! {
    /// `bash`
    BashTool {
        /// The version of the tool.
        sub_type: BashVersion = "subType",
        /// `bash`
        name: String = "name",
    }
}

tool! {
    /// `computer`
    ComputerTool {
        /// The version of the tool.
        sub_type: ComputerVersion = "subType",
        /// `computer`
        name: String = "name",
        /// Width in pixels. Required.
        display_width_px: Number = "displayWidthPx",
        /// Height in pixels. Required.
        display_height_px: Number = "displayHeightPx",
    }
}

tool! {
    /// `textEditor`
    TextEditorTool {
        /// The version of the tool.
        sub_type: TextEditorVersion = "subType",
        /// `str_replace_editor`
        name: String = "name",
    }
}

tool! {
    /// `google.calendar.event.create`
    GoogleCalendarTool {}
}

open_enum! {
    /// The version of a shell tool.
    BashVersion {
        /// The version of October 2024.
        October2024 = "bash_20241022",
    }
}

open_enum! {
    /// The version of a screen control tool.
    ComputerVersion {
        /// The version of October 2024.
        October2024 = "computer_20241022",
    }
}

open_enum! {
    /// The version of a text editor tool.
    TextEditorVersion {
        /// The version of October 2024.
        October2024 = "text_editor_20241022",
    }
}

open_struct! {
    /// The result of a tool in `tool-calls-result`. The schema leaves it untyped.
    ToolAnswer {
        /// The id of the tool call.
        tool_call_id: String = "toolCallId",
        /// The tool's name.
        name: String = "name",
        /// The result.
        result: Raw = "result",
    }
}
