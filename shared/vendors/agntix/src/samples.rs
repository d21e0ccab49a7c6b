//! Valid bodies of agntix' webhooks.

use gatehouse_vendor::Sample;

/// `session.created`
pub const SESSION_CREATED: &str = include_str!("../samples/session-created.json");
/// `session.ended`
pub const SESSION_ENDED: &str = include_str!("../samples/session-ended.json");

/// All samples.
pub(crate) const ALL: [Sample; 2] = [
    Sample { name: "session-ended", body: SESSION_ENDED, ids: &["/id"], times: &["/createdAt", "/endedAt"] },
    Sample { name: "session-created", body: SESSION_CREATED, ids: &["/id"], times: &["/createdAt"] },
];
