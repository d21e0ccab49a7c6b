use crate::wire::{Item, Raw};

open_struct! {
    /// What a client asks. The documentation has `conversationId` optional; two servers require it.
    Request {
        /// The new messages of this turn; the server has the others.
        messages: Vec<Item<Message>> = "messages",
        /// Tools of the client's.
        tools: Vec<Item<Tool>> = "tools",
        /// The decision an [`Interrupt`] waits for.
        resume: Resume = "resume",
        /// Whose history the turn belongs to.
        conversation_id: String = "conversationId",
    }
}

open_union! {
    /// A message, told apart by `role`. Servers refuse any other role.
    Message by "role" {
        /// Instructions.
        System(TextMessage) = "system",
        /// The customer's.
        User(TextMessage) = "user",
        /// The agent's.
        Assistant(AssistantMessage) = "assistant",
        /// A tool's.
        Tool(ToolMessage) = "tool",
    }
}

open_struct! {
    /// A message that is text.
    TextMessage {
        /// As whom.
        role: String = "role",
        /// The message's id; not documented.
        id: String = "id",
        /// The text.
        content: String = "content",
    }
}

open_struct! {
    /// A message of the agent's.
    AssistantMessage {
        /// `assistant`
        role: String = "role",
        /// The message's id; one server requires it.
        id: String = "id",
        /// The text; may be `null`.
        content: String = "content",
        /// The tools it called.
        tool_calls: Vec<Item<ToolCall>> = "toolCalls",
    }
}

open_struct! {
    /// What a tool answered.
    ToolMessage {
        /// `tool`
        role: String = "role",
        /// The message's id; not documented.
        id: String = "id",
        /// The answer.
        content: String = "content",
        /// Which call it answers.
        tool_call_id: String = "toolCallId",
    }
}

open_struct! {
    /// A call of a tool.
    ToolCall {
        /// Names the call.
        id: String = "id",
        /// `function`
        kind: String = "type",
        /// Which function, with what.
        function: FunctionCall = "function",
    }
}

open_struct! {
    /// A function with its arguments.
    FunctionCall {
        /// Its name.
        name: String = "name",
        /// JSON text.
        arguments: String = "arguments",
    }
}

open_struct! {
    /// A tool of the client's.
    Tool {
        /// Its name.
        name: String = "name",
        /// When to use it.
        description: String = "description",
        /// Its arguments, as a JSON Schema.
        parameters: Raw = "parameters",
    }
}

open_struct! {
    /// The decision an interrupt waits for.
    Resume {
        /// Which interrupt.
        interrupt_id: String = "interruptId",
        /// The decision: any JSON as documented, text alone for one server.
        payload: Raw = "payload",
    }
}

open_union! {
    /// An event of the answer, told apart by `type`. One without, which is kept as [`Other`](Self::Other), may be how a
    /// server says that it could not begin: see [`CouldNotBegin`].
    Event by "type" {
        /// A piece of the answer's text.
        Text(Text) = "text",
        /// The agent begins to call a tool.
        ToolCallStart(ToolCallStart) = "tool-call-start",
        /// A piece of a call's arguments.
        ToolCallArgs(ToolCallArgs) = "tool-call-args",
        /// A call is complete. Without a result in this stream, it is for the client to do.
        ToolCallEnd(ToolCallEnd) = "tool-call-end",
        /// A tool of the server's has answered.
        ToolResult(ToolResult) = "tool-result",
        /// The agent waits for the client's decision, which comes in a new request.
        Interrupt(Interrupt) = "interrupt",
        /// Of one server's models, and never seen.
        Failure(Failure) = "error",
    }
}

open_struct! {
    /// `text`
    Text {
        /// The event's type.
        event_type: String = "type",
        /// The piece: to be joined to what came before.
        content: String = "content",
    }
}

open_struct! {
    /// `tool-call-start`
    ToolCallStart {
        /// The event's type.
        event_type: String = "type",
        /// Names the call; several may be open at once.
        tool_call_id: String = "toolCallId",
        /// The tool.
        tool_call_name: String = "toolCallName",
    }
}

open_struct! {
    /// `tool-call-args`
    ToolCallArgs {
        /// The event's type.
        event_type: String = "type",
        /// Which call.
        tool_call_id: String = "toolCallId",
        /// The piece: of JSON text.
        delta: String = "delta",
    }
}

open_struct! {
    /// `tool-call-end`
    ToolCallEnd {
        /// The event's type.
        event_type: String = "type",
        /// Which call.
        tool_call_id: String = "toolCallId",
    }
}

open_struct! {
    /// `tool-result`
    ToolResult {
        /// The event's type.
        event_type: String = "type",
        /// Which call.
        tool_call_id: String = "toolCallId",
        /// What it answered.
        result: String = "result",
    }
}

open_struct! {
    /// `interrupt`
    Interrupt {
        /// The event's type.
        event_type: String = "type",
        /// To be named in `resume`.
        id: String = "id",
        /// Why; may be `null`.
        reason: String = "reason",
        /// What is to be decided, in whatever form.
        payload: Raw = "payload",
    }
}

open_struct! {
    /// `error`
    Failure {
        /// The event's type.
        event_type: String = "type",
        /// What failed.
        error: String = "error",
        /// A code, which Gatehouse adds to an error event of its own.
        code: String = "code",
    }
}

open_struct! {
    /// `{"error": …, "details": …}`, after a status of 200 and instead of everything else.
    CouldNotBegin {
        /// What failed.
        error: String = "error",
        /// Why. May quote what was sent.
        details: String = "details",
    }
}
