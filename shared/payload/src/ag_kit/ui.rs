use crate::wire::{Item, JsonObject, Number, Raw};

open_struct! {
    /// What a client asks (`RunAgentInput`). For one server only `messages` is required.
    Request {
        /// Whose history the run belongs to.
        thread_id: String = "threadId",
        /// Names the run.
        run_id: String = "runId",
        /// The run that began it.
        parent_run_id: String = "parentRunId",
        /// The application's state.
        state: Raw = "state",
        /// The conversation.
        messages: Vec<Item<Message>> = "messages",
        /// Tools of the client's.
        tools: Vec<Item<super::kit::Tool>> = "tools",
        /// What else the agent should know.
        context: Vec<Item<Context>> = "context",
        /// For whoever is behind the server.
        forwarded_props: Raw = "forwardedProps",
        /// The decisions open interrupts wait for, all of them.
        resume: Vec<Item<Resume>> = "resume",
    }
}

open_struct! {
    /// Something the agent should know.
    Context {
        /// What it is.
        description: String = "description",
        /// The thing itself.
        value: String = "value",
    }
}

open_struct! {
    /// The decision an interrupt waits for.
    Resume {
        /// Which interrupt.
        interrupt_id: String = "interruptId",
        /// Whether there is one.
        status: ResumeStatus = "status",
        /// The decision.
        payload: Raw = "payload",
        /// More about it.
        metadata: JsonObject = "metadata",
    }
}

open_enum! {
    /// Whether an interrupt was decided.
    ResumeStatus {
        /// It was.
        Resolved = "resolved",
        /// It was called off.
        Cancelled = "cancelled",
    }
}

open_struct! {
    /// A message of a conversation. What stands in it depends on `role`.
    Message {
        /// Names it.
        id: String = "id",
        /// As whom.
        role: Role = "role",
        /// Text, or pieces of several kinds.
        content: Raw = "content",
        /// A name.
        name: String = "name",
        /// `assistant`: the tools it called.
        tool_calls: Vec<Item<super::kit::ToolCall>> = "toolCalls",
        /// `tool`: which call it answers.
        tool_call_id: String = "toolCallId",
        /// `tool`: why it failed.
        error: String = "error",
        /// `activity`: what kind.
        activity_type: String = "activityType",
        /// `assistant`, `reasoning`: what only the provider can read.
        encrypted_value: String = "encryptedValue",
    }
}

open_enum! {
    /// As whom a message is written.
    Role {
        /// Instructions of the application's maker.
        Developer = "developer",
        /// Instructions.
        System = "system",
        /// The customer.
        User = "user",
        /// The agent.
        Assistant = "assistant",
        /// A tool.
        Tool = "tool",
        /// What the agent does.
        Activity = "activity",
        /// What the agent thinks.
        Reasoning = "reasoning",
    }
}

open_union! {
    /// How a run ended, told apart by `type`.
    Outcome by "type" {
        /// Well.
        Success(Succeeded) = "success",
        /// It waits for decisions.
        Interrupt(Interrupted) = "interrupt",
        /// It was stopped on purpose.
        Cancelled(Cancelled) = "cancelled",
    }
}

open_struct! {
    /// A run that ended well.
    Succeeded {
        /// `success`
        kind: String = "type",
    }
}

open_struct! {
    /// A run that was stopped on purpose.
    Cancelled {
        /// `cancelled`
        kind: String = "type",
    }
}

open_struct! {
    /// A run that waits for decisions.
    Interrupted {
        /// `interrupt`
        kind: String = "type",
        /// Which ones.
        interrupts: Vec<Item<Interrupt>> = "interrupts",
    }
}

open_struct! {
    /// Something to be decided.
    Interrupt {
        /// To be named in [`Resume`].
        id: String = "id",
        /// Why.
        reason: InterruptReason = "reason",
        /// What to show.
        message: String = "message",
        /// The tool call it is about.
        tool_call_id: String = "toolCallId",
        /// What a decision looks like, as a JSON Schema.
        response_schema: Raw = "responseSchema",
        /// Until when it can be decided.
        expires_at: String = "expiresAt",
        /// More about it.
        metadata: JsonObject = "metadata",
    }
}

open_enum! {
    /// Why a run waits. Servers have reasons of their own.
    InterruptReason {
        /// A tool call is to be allowed.
        ToolCall = "tool_call",
        /// Something is to be entered.
        InputRequired = "input_required",
        /// Something is to be confirmed.
        Confirmation = "confirmation",
    }
}

open_struct! {
    /// What a run used.
    Usage {
        /// Whose model.
        provider: String = "provider",
        /// Which model.
        model: String = "model",
        /// Tokens read.
        input_tokens: Number = "inputTokens",
        /// Tokens written.
        output_tokens: Number = "outputTokens",
        /// Both.
        total_tokens: Number = "totalTokens",
        /// Tokens thought.
        reasoning_tokens: Number = "reasoningTokens",
        /// Tokens read from a cache.
        cached_input_tokens: Number = "cachedInputTokens",
    }
}

open_union! {
    /// An event of the answer, told apart by `type`.
    Event by "type" {
        /// A run begins.
        RunStarted(RunStarted) = "RUN_STARTED",
        /// A run ends well, or waits.
        RunFinished(RunFinished) = "RUN_FINISHED",
        /// A run fails. May come twice, once from each layer of a server.
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
        /// The three before in one.
        TextMessageChunk(TextMessageChunk) = "TEXT_MESSAGE_CHUNK",
        /// The agent begins to call a tool.
        ToolCallStart(ToolCallStart) = "TOOL_CALL_START",
        /// A piece of a call's arguments.
        ToolCallArgs(ToolCallArgs) = "TOOL_CALL_ARGS",
        /// A call is complete.
        ToolCallEnd(ToolCallEnd) = "TOOL_CALL_END",
        /// The three before in one.
        ToolCallChunk(ToolCallChunk) = "TOOL_CALL_CHUNK",
        /// A tool has answered.
        ToolCallResult(ToolCallResult) = "TOOL_CALL_RESULT",
        /// The whole state.
        StateSnapshot(StateSnapshot) = "STATE_SNAPSHOT",
        /// What changed in the state.
        StateDelta(StateDelta) = "STATE_DELTA",
        /// The whole conversation.
        MessagesSnapshot(MessagesSnapshot) = "MESSAGES_SNAPSHOT",
        /// What the agent does.
        ActivitySnapshot(ActivitySnapshot) = "ACTIVITY_SNAPSHOT",
        /// What changed in what the agent does.
        ActivityDelta(ActivityDelta) = "ACTIVITY_DELTA",
        /// An event of something else.
        Foreign(Foreign) = "RAW",
        /// An event of the application's. `on_interrupt`, with JSON text for a value, is how older servers interrupt.
        Custom(Custom) = "CUSTOM",
        /// The agent begins to think.
        ReasoningStart(ReasoningStart) = "REASONING_START",
        /// The agent has thought.
        ReasoningEnd(ReasoningEnd) = "REASONING_END",
        /// A thought begins.
        ReasoningMessageStart(ReasoningMessageStart) = "REASONING_MESSAGE_START",
        /// A piece of a thought.
        ReasoningMessageContent(ReasoningMessageContent) = "REASONING_MESSAGE_CONTENT",
        /// A thought is complete.
        ReasoningMessageEnd(ReasoningMessageEnd) = "REASONING_MESSAGE_END",
        /// The three before in one.
        ReasoningMessageChunk(ReasoningMessageChunk) = "REASONING_MESSAGE_CHUNK",
        /// A thought that only its provider can read.
        ReasoningEncryptedValue(ReasoningEncryptedValue) = "REASONING_ENCRYPTED_VALUE",
        /// What the agent thinks, as older servers write it.
        Thinking(Thinking) = "THINKING_START" | "THINKING_END" | "THINKING_TEXT_MESSAGE_START" | "THINKING_TEXT_MESSAGE_CONTENT" | "THINKING_TEXT_MESSAGE_END",
    }
}

/// A struct for an event: what all may have, and its own members.
macro_rules! event {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        open_struct! {
            $(#[$about])*
            $name {
                /// The event's type.
                event_type: String = "type",
                /// When; no unit is documented.
                timestamp: Number = "timestamp",
                /// What it was made from.
                raw_event: Raw = "rawEvent",
                /// More about it.
                metadata: JsonObject = "metadata",
                $($own)*
            }
        }
    };
}

event! {
    /// `RUN_STARTED`
    RunStarted {
        /// The thread.
        thread_id: String = "threadId",
        /// The run.
        run_id: String = "runId",
        /// The run that began it.
        parent_run_id: String = "parentRunId",
        /// What was asked.
        input: Request = "input",
    }
}

event! {
    /// `RUN_FINISHED`
    RunFinished {
        /// The thread.
        thread_id: String = "threadId",
        /// The run.
        run_id: String = "runId",
        /// What came of it.
        result: Raw = "result",
        /// How it ended. Absent from older servers; a word in the draft of interrupts.
        outcome: Outcome = "outcome",
        /// The interrupt, in the draft of interrupts.
        interrupt: Raw = "interrupt",
        /// What it used.
        usage: Vec<Item<Usage>> = "usage",
    }
}

event! {
    /// `RUN_ERROR`
    RunError {
        /// What failed.
        message: String = "message",
        /// In a word.
        code: String = "code",
        /// What it used.
        usage: Vec<Item<Usage>> = "usage",
        /// The thread.
        thread_id: String = "threadId",
        /// The run.
        run_id: String = "runId",
        /// The thread, as one server writes it here alone.
        thread_id_snake: String = "thread_id",
        /// The run, as one server writes it here alone.
        run_id_snake: String = "run_id",
    }
}

event! {
    /// `STEP_STARTED`
    StepStarted {
        /// Its name.
        step_name: String = "stepName",
    }
}

event! {
    /// `STEP_FINISHED`
    StepFinished {
        /// Its name.
        step_name: String = "stepName",
    }
}

event! {
    /// `TEXT_MESSAGE_START`
    TextMessageStart {
        /// Names it.
        message_id: String = "messageId",
        /// As whom: `assistant`.
        role: Role = "role",
    }
}

event! {
    /// `TEXT_MESSAGE_CONTENT`
    TextMessageContent {
        /// Which message.
        message_id: String = "messageId",
        /// The piece: to be joined to what came before.
        delta: String = "delta",
    }
}

event! {
    /// `TEXT_MESSAGE_END`
    TextMessageEnd {
        /// Which message.
        message_id: String = "messageId",
    }
}

event! {
    /// `TEXT_MESSAGE_CHUNK`
    TextMessageChunk {
        /// Which message.
        message_id: String = "messageId",
        /// As whom.
        role: Role = "role",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `TOOL_CALL_START`
    ToolCallStart {
        /// Names the call.
        tool_call_id: String = "toolCallId",
        /// The tool.
        tool_call_name: String = "toolCallName",
        /// The message it belongs to.
        parent_message_id: String = "parentMessageId",
    }
}

event! {
    /// `TOOL_CALL_ARGS`
    ToolCallArgs {
        /// Which call.
        tool_call_id: String = "toolCallId",
        /// The piece: of JSON text.
        delta: String = "delta",
    }
}

event! {
    /// `TOOL_CALL_END`
    ToolCallEnd {
        /// Which call.
        tool_call_id: String = "toolCallId",
    }
}

event! {
    /// `TOOL_CALL_CHUNK`
    ToolCallChunk {
        /// Which call.
        tool_call_id: String = "toolCallId",
        /// The tool.
        tool_call_name: String = "toolCallName",
        /// The message it belongs to.
        parent_message_id: String = "parentMessageId",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `TOOL_CALL_RESULT`
    ToolCallResult {
        /// Names the answer.
        message_id: String = "messageId",
        /// Which call.
        tool_call_id: String = "toolCallId",
        /// What it answered.
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
        /// Its messages.
        messages: Vec<Item<Message>> = "messages",
    }
}

event! {
    /// `ACTIVITY_SNAPSHOT`
    ActivitySnapshot {
        /// Names it.
        message_id: String = "messageId",
        /// What kind.
        activity_type: String = "activityType",
        /// What.
        content: Raw = "content",
        /// Whether it takes the place of what came before.
        replace: bool = "replace",
    }
}

event! {
    /// `ACTIVITY_DELTA`
    ActivityDelta {
        /// Which.
        message_id: String = "messageId",
        /// What kind.
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
        /// Whose it is.
        source: String = "source",
    }
}

event! {
    /// `CUSTOM`
    Custom {
        /// Its name.
        name: String = "name",
        /// Its value.
        value: Raw = "value",
    }
}

event! {
    /// `REASONING_START`
    ReasoningStart {
        /// Names it.
        message_id: String = "messageId",
    }
}

event! {
    /// `REASONING_END`
    ReasoningEnd {
        /// Which.
        message_id: String = "messageId",
    }
}

event! {
    /// `REASONING_MESSAGE_START`
    ReasoningMessageStart {
        /// Names it.
        message_id: String = "messageId",
        /// `reasoning`
        role: Role = "role",
    }
}

event! {
    /// `REASONING_MESSAGE_CONTENT`
    ReasoningMessageContent {
        /// Which.
        message_id: String = "messageId",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `REASONING_MESSAGE_END`
    ReasoningMessageEnd {
        /// Which.
        message_id: String = "messageId",
    }
}

event! {
    /// `REASONING_MESSAGE_CHUNK`
    ReasoningMessageChunk {
        /// Which.
        message_id: String = "messageId",
        /// The piece.
        delta: String = "delta",
    }
}

event! {
    /// `REASONING_ENCRYPTED_VALUE`
    ReasoningEncryptedValue {
        /// What kind.
        subtype: String = "subtype",
        /// What it belongs to.
        entity_id: String = "entityId",
        /// The value.
        encrypted_value: String = "encryptedValue",
    }
}

event! {
    /// `THINKING_…`
    Thinking {
        /// What about.
        title: String = "title",
        /// A piece of it.
        delta: String = "delta",
    }
}
