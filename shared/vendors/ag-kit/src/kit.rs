use gatehouse_payload::wire::{Item, Raw};
use gatehouse_payload::{open_struct, open_union};

open_struct! {
    /// A client's request. `conversationId` is documented as optional, but two servers require it.
    Request {
        /// The new messages of this turn. The server stores the earlier ones.
        messages: Vec<Item<Message>> = "messages",
        /// The client's tools.
        tools: Vec<Item<Tool>> = "tools",
        /// The decision on an [`Interrupt`].
        resume: Resume = "resume",
        /// The conversation that the turn belongs to.
        conversation_id: String = "conversationId",
    }
}

open_union! {
    /// A message; the kind depends on `role`. Servers reject any other role.
    Message by "role" {
        /// Instructions.
        System(TextMessage) = "system",
        /// A message of the customer.
        User(TextMessage) = "user",
        /// A message of the agent.
        Assistant(AssistantMessage) = "assistant",
        /// The result of a tool.
        Tool(ToolMessage) = "tool",
    }
}

open_struct! {
    /// A text message.
    TextMessage {
        /// The role of the author.
        role: String = "role",
        /// The message's id. Not documented.
        id: String = "id",
        /// The text.
        content: String = "content",
    }
}

open_struct! {
    /// A message of the agent.
    AssistantMessage {
        /// `assistant`
        role: String = "role",
        /// The message's id. One server requires it.
        id: String = "id",
        /// The text; may be `null`.
        content: String = "content",
        /// The tool calls.
        tool_calls: Vec<Item<ToolCall>> = "toolCalls",
    }
}

open_struct! {
    /// The result of a tool.
    ToolMessage {
        /// `tool`
        role: String = "role",
        /// The message's id. Not documented.
        id: String = "id",
        /// The result.
        content: String = "content",
        /// The tool call's id.
        tool_call_id: String = "toolCallId",
    }
}

open_struct! {
    /// A tool call.
    ToolCall {
        /// The call's id.
        id: String = "id",
        /// `function`
        kind: String = "type",
        /// The function and its arguments.
        function: FunctionCall = "function",
    }
}

open_struct! {
    /// A function and its arguments.
    FunctionCall {
        /// The name.
        name: String = "name",
        /// The arguments as JSON text.
        arguments: String = "arguments",
    }
}

open_struct! {
    /// A tool of the client.
    Tool {
        /// The name.
        name: String = "name",
        /// The tool's purpose, for the model.
        description: String = "description",
        /// The parameters as a JSON Schema.
        parameters: Raw = "parameters",
    }
}

open_struct! {
    /// The decision on an interrupt.
    Resume {
        /// The interrupt's id.
        interrupt_id: String = "interruptId",
        /// The decision. Any JSON according to the documentation; one server accepts only strings.
        payload: Raw = "payload",
    }
}

open_union! {
    /// An event of the response; the kind depends on `type`. An event without a type becomes [`Other`](Self::Other). It
    /// may be the error of a server that could not begin: see [`CouldNotBegin`].
    Event by "type" {
        /// A piece of the response's text.
        Text(Text) = "text",
        /// A tool call begins.
        ToolCallStart(ToolCallStart) = "tool-call-start",
        /// A piece of a tool call's arguments.
        ToolCallArgs(ToolCallArgs) = "tool-call-args",
        /// A tool call is complete. The client must run it unless the stream contains its result.
        ToolCallEnd(ToolCallEnd) = "tool-call-end",
        /// A tool of the server returned a result.
        ToolResult(ToolResult) = "tool-result",
        /// The agent waits for the client's decision, which is sent in a new request.
        Interrupt(Interrupt) = "interrupt",
        /// An error. Defined in one server's models; never seen in practice.
        Failure(Failure) = "error",
    }
}

open_struct! {
    /// `text`
    Text {
        /// The event's type.
        event_type: String = "type",
        /// The piece, to be appended to the previous ones.
        content: String = "content",
    }
}

open_struct! {
    /// `tool-call-start`
    ToolCallStart {
        /// The event's type.
        event_type: String = "type",
        /// The call's id. Several calls may be open at once.
        tool_call_id: String = "toolCallId",
        /// The tool's name.
        tool_call_name: String = "toolCallName",
    }
}

open_struct! {
    /// `tool-call-args`
    ToolCallArgs {
        /// The event's type.
        event_type: String = "type",
        /// The call's id.
        tool_call_id: String = "toolCallId",
        /// A piece of JSON text.
        delta: String = "delta",
    }
}

open_struct! {
    /// `tool-call-end`
    ToolCallEnd {
        /// The event's type.
        event_type: String = "type",
        /// The call's id.
        tool_call_id: String = "toolCallId",
    }
}

open_struct! {
    /// `tool-result`
    ToolResult {
        /// The event's type.
        event_type: String = "type",
        /// The call's id.
        tool_call_id: String = "toolCallId",
        /// The result.
        result: String = "result",
    }
}

open_struct! {
    /// `interrupt`
    Interrupt {
        /// The event's type.
        event_type: String = "type",
        /// The id, which `resume` must repeat.
        id: String = "id",
        /// The reason; may be `null`.
        reason: String = "reason",
        /// The decision to be made, in any form.
        payload: Raw = "payload",
    }
}

open_struct! {
    /// `error`
    Failure {
        /// The event's type.
        event_type: String = "type",
        /// The error message.
        error: String = "error",
        /// A code, which Gatehouse adds to its own error events.
        code: String = "code",
    }
}

open_struct! {
    /// `{"error": …, "details": …}`, which is sent after a status of 200 and instead of all other events.
    CouldNotBegin {
        /// The error message.
        error: String = "error",
        /// The details. May quote the request.
        details: String = "details",
    }
}
