//! What is said in a call, and the tools that are called.
//!
//! Source: `UserMessage`, `BotMessage`, `OpenAIMessage`, `ToolCall` and others of Vapi's OpenAPI document
//! (<https://api.vapi.ai/api-json>, August 2026), and captures.

use crate::wire::{Bag, Item, Number, Raw};

use super::assistant::{FunctionDefinition, Server};
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
        Bot(BotEntry) = "bot",
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
                /// When, in seconds since the call, or the assistant that speaks now, began: it falls when another takes over.
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
        /// How long: documented in seconds, and so in 2024; in milliseconds in 2025.
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
        /// How long: documented in seconds, and so in 2024; in milliseconds in 2025.
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
        Function(FunctionTool) = "function",
        /// A workflow at GoHighLevel.
        Ghl(GhlTool) = "ghl",
        /// A scenario at Make.
        Make(MakeTool) = "make",
        /// A shell.
        Bash(BashTool) = "bash",
        /// A screen.
        Computer(ComputerTool) = "computer",
        /// An editor.
        TextEditor(TextEditorTool) = "textEditor",
        /// An entry in a calendar.
        GoogleCalendarEventCreate(GoogleCalendarTool) = "google.calendar.event.create",
    }
}

/// A struct for a tool with the call to it: what all have, and its own members.
macro_rules! tool {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        object! {
            $(#[$about])*
            $name {
                /// Tells the kinds apart.
                kind: String = "type",
                /// The call. Required.
                tool_call: ToolCall = "toolCall",
                /// What is said meanwhile.
                messages: Vec<Item<Raw>> = "messages",
                /// Whether the caller does not wait for the result.
                is_async: bool = "async",
                /// Where it is called; its `secret` may be among it.
                server: Server = "server",
                /// What the model is told of it.
                function: FunctionDefinition = "function",
                $($own)*
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
        /// Which workflow. Required.
        metadata: Bag = "metadata",
    }
}

tool! {
    /// `make`
    MakeTool {
        /// Which scenario. Required.
        metadata: Bag = "metadata",
    }
}

tool! {
    /// `bash`
    BashTool {
        /// Which version of it.
        sub_type: BashVersion = "subType",
        /// `bash`
        name: String = "name",
    }
}

tool! {
    /// `computer`
    ComputerTool {
        /// Which version of it.
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
        /// Which version of it.
        sub_type: TextEditorVersion = "subType",
        /// `str_replace_editor`
        name: String = "name",
    }
}

tool! {
    /// `google.calendar.event.create`
    GoogleCalendarTool {}
}

words! {
    /// Which version of a shell.
    BashVersion {
        /// Of October 2024.
        October2024 = "bash_20241022",
    }
}

words! {
    /// Which version of a screen.
    ComputerVersion {
        /// Of October 2024.
        October2024 = "computer_20241022",
    }
}

words! {
    /// Which version of an editor.
    TextEditorVersion {
        /// Of October 2024.
        October2024 = "text_editor_20241022",
    }
}

object! {
    /// What a tool answered, as the message about it has it. The schema leaves it untyped.
    ToolAnswer {
        /// Which call it answers.
        tool_call_id: String = "toolCallId",
        /// The tool's name.
        name: String = "name",
        /// What it answered.
        result: Raw = "result",
    }
}
