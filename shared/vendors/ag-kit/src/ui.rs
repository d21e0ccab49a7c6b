use gatehouse_payload::wire::{Item, JsonObject, Number, Raw};
use gatehouse_payload::{open_enum, open_struct, open_union};

open_struct! {
    /// A client's request (`RunAgentInput`). One server requires only `messages`.
    Request {
        /// The thread that the run belongs to.
        thread_id: String = "threadId",
        /// The run's id.
        run_id: String = "runId",
        /// The id of the run that started this one.
        parent_run_id: String = "parentRunId",
        /// The application's state.
        state: Raw = "state",
        /// The conversation.
        messages: Vec<Item<Message>> = "messages",
        /// The client's tools.
        tools: Vec<Item<super::kit::Tool>> = "tools",
        /// Additional context for the agent.
        context: Vec<Item<Context>> = "context",
        /// Properties that the server forwards.
        forwarded_props: Raw = "forwardedProps",
        /// The decisions on all open interrupts.
        resume: Vec<Item<Resume>> = "resume",
    }
}

open_struct! {
    /// A piece of context for the agent.
    Context {
        /// The description.
        description: String = "description",
        /// The value.
        value: String = "value",
    }
}

open_struct! {
    /// The decision on an interrupt.
    Resume {
        /// The interrupt's id.
        interrupt_id: String = "interruptId",
        /// The status of the decision.
        status: ResumeStatus = "status",
        /// The decision.
        payload: Raw = "payload",
        /// Additional data.
        metadata: JsonObject = "metadata",
    }
}

open_enum! {
    /// The status of a decision.
    ResumeStatus {
        /// The interrupt was decided.
        Resolved = "resolved",
        /// The interrupt was cancelled.
        Cancelled = "cancelled",
    }
}

open_struct! {
    /// A message of a conversation. Its other members depend on `role`.
    Message {
        /// The message's id.
        id: String = "id",
        /// The role of the author.
        role: Role = "role",
        /// A text, or parts of several kinds.
        content: Raw = "content",
        /// A name.
        name: String = "name",
        /// `assistant`: the tool calls.
        tool_calls: Vec<Item<super::kit::ToolCall>> = "toolCalls",
        /// `tool`: the id of the tool call.
        tool_call_id: String = "toolCallId",
        /// `tool`: the error.
        error: String = "error",
        /// `activity`: the kind of activity.
        activity_type: String = "activityType",
        /// `assistant`, `reasoning`: a value that only the provider can decrypt.
        encrypted_value: String = "encryptedValue",
    }
}

open_enum! {
    /// The role of a message's author.
    Role {
        /// Instructions of the application's developer.
        Developer = "developer",
        /// Instructions.
        System = "system",
        /// The customer.
        User = "user",
        /// The agent.
        Assistant = "assistant",
        /// A tool.
        Tool = "tool",
        /// An activity of the agent.
        Activity = "activity",
        /// The reasoning of the agent.
        Reasoning = "reasoning",
    }
}

open_union! {
    /// The outcome of a run; the kind depends on `type`.
    Outcome by "type" {
        /// The run succeeded.
        Success(Succeeded) = "success",
        /// The run waits for decisions.
        Interrupt(Interrupted) = "interrupt",
        /// The run was cancelled.
        Cancelled(Cancelled) = "cancelled",
    }
}

open_struct! {
    /// The outcome of a run that succeeded.
    Succeeded {
        /// `success`
        kind: String = "type",
    }
}

open_struct! {
    /// The outcome of a run that was cancelled.
    Cancelled {
        /// `cancelled`
        kind: String = "type",
    }
}

open_struct! {
    /// The outcome of a run that waits for decisions.
    Interrupted {
        /// `interrupt`
        kind: String = "type",
        /// The interrupts.
        interrupts: Vec<Item<Interrupt>> = "interrupts",
    }
}

open_struct! {
    /// A decision that a run waits for.
    Interrupt {
        /// The id, which [`Resume`] must repeat.
        id: String = "id",
        /// The reason.
        reason: InterruptReason = "reason",
        /// The text to show.
        message: String = "message",
        /// The id of the tool call that needs the decision.
        tool_call_id: String = "toolCallId",
        /// The form of the decision, as a JSON Schema.
        response_schema: Raw = "responseSchema",
        /// The time when the interrupt expires.
        expires_at: String = "expiresAt",
        /// Additional data.
        metadata: JsonObject = "metadata",
    }
}

open_enum! {
    /// The reason of an interrupt. Servers define further reasons.
    InterruptReason {
        /// A tool call needs approval.
        ToolCall = "tool_call",
        /// Input is required.
        InputRequired = "input_required",
        /// A confirmation is required.
        Confirmation = "confirmation",
    }
}

open_struct! {
    /// The usage of a run.
    Usage {
        /// The provider of the model.
        provider: String = "provider",
        /// The model.
        model: String = "model",
        /// Input tokens.
        input_tokens: Number = "inputTokens",
        /// Output tokens.
        output_tokens: Number = "outputTokens",
        /// Input and output tokens.
        total_tokens: Number = "totalTokens",
        /// Reasoning tokens.
        reasoning_tokens: Number = "reasoningTokens",
        /// Input tokens from a cache.
        cached_input_tokens: Number = "cachedInputTokens",
    }
}

open_union! {
    /// An event of the response; the kind depends on `type`.
    Event by "type" {
        /// A run begins.
        RunStarted(RunStarted) = "RUN_STARTED",
        /// A run succeeds, is cancelled or waits for decisions.
        RunFinished(RunFinished) = "RUN_FINISHED",
        /// A run fails. May be sent twice, once by each layer of a server.
        RunError(RunError) = "RUN_ERROR",
        /// A step begins.
        StepStarted(StepStarted) = "STEP_STARTED",
        /// A step ends.
        StepFinished(StepFinished) = "STEP_FINISHED",
        /// A message begins.
        TextMessageStart(TextMessageStart) = "TEXT_MESSAGE_START",
        /// A piece of a message.
        TextMessageContent(TextMessageContent) = "TEXT_MESSAGE_CONTENT",
        /// A message is complete.
        TextMessageEnd(TextMessageEnd) = "TEXT_MESSAGE_END",
        /// The three events above in one.
        TextMessageChunk(TextMessageChunk) = "TEXT_MESSAGE_CHUNK",
        /// A tool call begins.
        ToolCallStart(ToolCallStart) = "TOOL_CALL_START",
        /// A piece of a tool call's arguments.
        ToolCallArgs(ToolCallArgs) = "TOOL_CALL_ARGS",
        /// A tool call is complete.
        ToolCallEnd(ToolCallEnd) = "TOOL_CALL_END",
        /// The three events above in one.
        ToolCallChunk(ToolCallChunk) = "TOOL_CALL_CHUNK",
        /// A tool returned a result.
        ToolCallResult(ToolCallResult) = "TOOL_CALL_RESULT",
        /// The whole state.
        StateSnapshot(StateSnapshot) = "STATE_SNAPSHOT",
        /// A change of the state.
        StateDelta(StateDelta) = "STATE_DELTA",
        /// The whole conversation.
        MessagesSnapshot(MessagesSnapshot) = "MESSAGES_SNAPSHOT",
        /// An activity of the agent.
        ActivitySnapshot(ActivitySnapshot) = "ACTIVITY_SNAPSHOT",
        /// A change of an activity.
        ActivityDelta(ActivityDelta) = "ACTIVITY_DELTA",
        /// An event of another system.
        Foreign(Foreign) = "RAW",
        /// An event of the application. Older servers interrupt with `on_interrupt`, whose value is JSON text.
        Custom(Custom) = "CUSTOM",
        /// The reasoning begins.
        ReasoningStart(ReasoningStart) = "REASONING_START",
        /// The reasoning ends.
        ReasoningEnd(ReasoningEnd) = "REASONING_END",
        /// A reasoning message begins.
        ReasoningMessageStart(ReasoningMessageStart) = "REASONING_MESSAGE_START",
        /// A piece of a reasoning message.
        ReasoningMessageContent(ReasoningMessageContent) = "REASONING_MESSAGE_CONTENT",
        /// A reasoning message is complete.
        ReasoningMessageEnd(ReasoningMessageEnd) = "REASONING_MESSAGE_END",
        /// The three events above in one.
        ReasoningMessageChunk(ReasoningMessageChunk) = "REASONING_MESSAGE_CHUNK",
        /// Reasoning that only its provider can decrypt.
        ReasoningEncryptedValue(ReasoningEncryptedValue) = "REASONING_ENCRYPTED_VALUE",
        /// The reasoning of the agent, from older servers.
        Thinking(Thinking) = "THINKING_START"
            | "THINKING_END"
            | "THINKING_TEXT_MESSAGE_START"
            | "THINKING_TEXT_MESSAGE_CONTENT"
            | "THINKING_TEXT_MESSAGE_END",
    }
}

/// Generates a struct for an event from the members that all events may have and the members of this event.
macro_rules! event {
    ($(#[$attribute:meta])* $name:ident { $($members:tt)* }) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The event's type.
                event_type: String = "type",
                /// The time. No unit is documented.
                timestamp: Number = "timestamp",
                /// The original event that this event was made from.
                raw_event: Raw = "rawEvent",
                /// Additional data.
                metadata: JsonObject = "metadata",
                $($members)*
            }
        }
    };
}

event! {
    /// `RUN_STARTED`
    RunStarted {
        /// The thread's id.
        thread_id: String = "threadId",
        /// The run's id.
        run_id: String = "runId",
        /// The id of the run that started this one.
        parent_run_id: String = "parentRunId",
        /// The request.
        input: Request = "input",
    }
}

event! {
    /// `RUN_FINISHED`
    RunFinished {
        /// The thread's id.
        thread_id: String = "threadId",
        /// The run's id.
        run_id: String = "runId",
        /// The result.
        result: Raw = "result",
        /// The outcome. Absent from older servers; a string in the draft of interrupts.
        outcome: Outcome = "outcome",
        /// The interrupt, in the draft of interrupts.
        interrupt: Raw = "interrupt",
        /// The usage.
        usage: Vec<Item<Usage>> = "usage",
    }
}

event! {
    /// `RUN_ERROR`
    RunError {
        /// The error message.
        message: String = "message",
        /// The error code.
        code: String = "code",
        /// The usage.
        usage: Vec<Item<Usage>> = "usage",
        /// The thread's id.
        thread_id: String = "threadId",
        /// The run's id.
        run_id: String = "runId",
        /// The thread's id, as one server writes it only in this event.
        thread_id_snake: String = "thread_id",
        /// The run's id, as one server writes it only in this event.
        run_id_snake: String = "run_id",
    }
}

event! {
    /// `STEP_STARTED`
    StepStarted {
        /// The name.
        step_name: String = "stepName",
    }
}

event! {
    /// `STEP_FINISHED`
    StepFinished {
        /// The name.
        step_name: String = "stepName",
    }
}

event! {
    /// `TEXT_MESSAGE_START`
    TextMessageStart {
        /// The message's id.
        message_id: String = "messageId",
        /// The role of the author: `assistant`.
        role: Role = "role",
    }
}

event! {
    /// `TEXT_MESSAGE_CONTENT`
    TextMessageContent {
        /// The message's id.
        message_id: String = "messageId",
        /// The piece, to be appended to the previous ones.
        delta: String = "delta",
    }
}

event! {
    /// `TEXT_MESSAGE_END`
    TextMessageEnd {
        /// The message's id.
        message_id: String = "messageId",
    }
}

event! {
    /// `TEXT_MESSAGE_CHUNK`
    TextMessageChunk {
        /// The message's id.
        message_id: String = "messageId",
        /// The role of the author.
        role: Role = "role",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `TOOL_CALL_START`
    ToolCallStart {
        /// The tool call's id.
        tool_call_id: String = "toolCallId",
        /// The tool's name.
        tool_call_name: String = "toolCallName",
        /// The id of the message that the call belongs to.
        parent_message_id: String = "parentMessageId",
    }
}

event! {
    /// `TOOL_CALL_ARGS`
    ToolCallArgs {
        /// The tool call's id.
        tool_call_id: String = "toolCallId",
        /// A piece of JSON text.
        delta: String = "delta",
    }
}

event! {
    /// `TOOL_CALL_END`
    ToolCallEnd {
        /// The tool call's id.
        tool_call_id: String = "toolCallId",
    }
}

event! {
    /// `TOOL_CALL_CHUNK`
    ToolCallChunk {
        /// The tool call's id.
        tool_call_id: String = "toolCallId",
        /// The tool's name.
        tool_call_name: String = "toolCallName",
        /// The id of the message that the call belongs to.
        parent_message_id: String = "parentMessageId",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `TOOL_CALL_RESULT`
    ToolCallResult {
        /// The result's id.
        message_id: String = "messageId",
        /// The tool call's id.
        tool_call_id: String = "toolCallId",
        /// The result.
        content: String = "content",
        /// `tool`
        role: Role = "role",
    }
}

event! {
    /// `STATE_SNAPSHOT`
    StateSnapshot {
        /// The state.
        snapshot: Raw = "snapshot",
    }
}

event! {
    /// `STATE_DELTA`
    StateDelta {
        /// A JSON Patch.
        delta: Vec<Item<Raw>> = "delta",
    }
}

event! {
    /// `MESSAGES_SNAPSHOT`
    MessagesSnapshot {
        /// The messages.
        messages: Vec<Item<Message>> = "messages",
    }
}

event! {
    /// `ACTIVITY_SNAPSHOT`
    ActivitySnapshot {
        /// The message's id.
        message_id: String = "messageId",
        /// The kind.
        activity_type: String = "activityType",
        /// The content.
        content: Raw = "content",
        /// Whether this snapshot replaces the previous one.
        replace: bool = "replace",
    }
}

event! {
    /// `ACTIVITY_DELTA`
    ActivityDelta {
        /// The message's id.
        message_id: String = "messageId",
        /// The kind.
        activity_type: String = "activityType",
        /// A JSON Patch.
        patch: Vec<Item<Raw>> = "patch",
    }
}

event! {
    /// `RAW`
    Foreign {
        /// The event.
        event: Raw = "event",
        /// The source.
        source: String = "source",
    }
}

event! {
    /// `CUSTOM`
    Custom {
        /// The name.
        name: String = "name",
        /// The value.
        value: Raw = "value",
    }
}

event! {
    /// `REASONING_START`
    ReasoningStart {
        /// The message's id.
        message_id: String = "messageId",
    }
}

event! {
    /// `REASONING_END`
    ReasoningEnd {
        /// The message's id.
        message_id: String = "messageId",
    }
}

event! {
    /// `REASONING_MESSAGE_START`
    ReasoningMessageStart {
        /// The message's id.
        message_id: String = "messageId",
        /// `reasoning`
        role: Role = "role",
    }
}

event! {
    /// `REASONING_MESSAGE_CONTENT`
    ReasoningMessageContent {
        /// The message's id.
        message_id: String = "messageId",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `REASONING_MESSAGE_END`
    ReasoningMessageEnd {
        /// The message's id.
        message_id: String = "messageId",
    }
}

event! {
    /// `REASONING_MESSAGE_CHUNK`
    ReasoningMessageChunk {
        /// The message's id.
        message_id: String = "messageId",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `REASONING_ENCRYPTED_VALUE`
    ReasoningEncryptedValue {
        /// The kind.
        subtype: String = "subtype",
        /// The id of the entity that the value belongs to.
        entity_id: String = "entityId",
        /// The value.
        encrypted_value: String = "encryptedValue",
    }
}

event! {
    /// `THINKING_…`
    Thinking {
        /// The title.
        title: String = "title",
        /// The piece.
        delta: String = "delta",
    }
}
