//! Valid messages of Vapi.

use gatehouse_vendor::Sample;

/// `assistant-request`
pub const ASSISTANT_REQUEST: &str = include_str!("../samples/assistant-request.json");
/// `end-of-call-report`
pub const END_OF_CALL_REPORT: &str = include_str!("../samples/end-of-call-report.json");
/// `status-update` with the status `ended`
pub const STATUS_UPDATE_ENDED: &str = include_str!("../samples/status-update-ended.json");
/// `tool-calls`
pub const TOOL_CALLS: &str = include_str!("../samples/tool-calls.json");
/// A final `transcript`
pub const TRANSCRIPT_FINAL: &str = include_str!("../samples/transcript-final.json");
/// `workflow.node.started`
pub const WORKFLOW_NODE_STARTED: &str = include_str!("../samples/workflow-node-started.json");
/// A reply to a client message: `add-message`.
pub const ADD_MESSAGE: &str = include_str!("../samples/add-message.json");

/// Client messages.
pub(crate) const CLIENT: [Sample; 3] = [
    message("transcript-final", TRANSCRIPT_FINAL),
    Sample {
        name: "workflow-node-started",
        body: WORKFLOW_NODE_STARTED,
        ids: &["/message/node/name"],
        times: &["/message/timestamp"],
    },
    message("status-update-ended", STATUS_UPDATE_ENDED),
];

/// Server messages.
pub(crate) const SERVER: [Sample; 5] = [
    message("assistant-request", ASSISTANT_REQUEST),
    message("tool-calls", TOOL_CALLS),
    message("transcript-final", TRANSCRIPT_FINAL),
    message("status-update-ended", STATUS_UPDATE_ENDED),
    message("end-of-call-report", END_OF_CALL_REPORT),
];

const fn message(name: &'static str, body: &'static str) -> Sample {
    Sample { name, body, ids: &["/message/call/id"], times: &["/message/timestamp"] }
}
