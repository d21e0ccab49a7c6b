//! Which vendor, and the four verbs by vendor.

use gatehouse_inbox::queue::Envelope;
use gatehouse_inbox::{Event, EventId, Fingerprint, Marks, Nonce, Outcome};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;

use crate::scheme::Parts;
use crate::secrets::Secrets;
use crate::vapi::Channel;
use crate::{Identity, Parsed, Unverified, Verified, Why, ada, agntix, chat, vapi};

/// Where a delivery comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Ada's conversation and end-user webhooks.
    Ada,
    /// agntix' session webhooks.
    Agntix,
    /// Vapi's messages, by direction.
    Vapi(Channel),
    /// Turns of agents: not delivered by a vendor, but put together by the chat proxy.
    AgKit,
}

impl Source {
    /// The vendor's name: the head of its event ids.
    #[must_use]
    pub fn vendor(self) -> &'static str {
        match self {
            Source::Ada => "ada",
            Source::Agntix => "agntix",
            Source::Vapi(_) => "vapi",
            Source::AgKit => "ag-kit",
        }
    }

    /// The source an event id names; `None` for ids of no known source.
    #[must_use]
    pub fn of(id: &EventId) -> Option<Source> {
        let mut parts = id.as_str().split(':');
        match (parts.next()?, parts.next()?) {
            ("ada", _) => Some(Source::Ada),
            ("agntix", _) => Some(Source::Agntix),
            ("vapi", channel) => Channel::named(channel).map(Source::Vapi),
            ("ag-kit", _) => Some(Source::AgKit),
            _ => None,
        }
    }

    /// Whether the secrets hold anything to verify it with.
    #[must_use]
    pub fn is_open(self, secrets: &Secrets) -> bool {
        match self {
            Source::Ada => !secrets.ada.is_empty(),
            Source::Agntix => !secrets.agntix.is_empty(),
            Source::Vapi(_) => !secrets.vapi.is_empty(),
            Source::AgKit => !secrets.agent_chat.clients.is_empty(),
        }
    }

    /// Verifies the raw request.
    ///
    /// # Errors
    /// When the vendor's scheme does not accept it.
    pub fn verify(self, parts: Parts<'_>, secrets: &Secrets, now: Timestamp) -> Result<Verified, Unverified> {
        match self {
            Source::Ada => ada::verify(parts, secrets, now),
            Source::Agntix => agntix::verify(parts, secrets, now),
            Source::Vapi(_) => vapi::verify(parts, secrets, now),
            Source::AgKit => {
                Err(Unverified::new(Why::Unsigned, "turns are not delivered: they come from agent-chat".to_owned()))
            }
        }
    }

    /// The headers a delivery of this source carries, signed with the first of its secrets: the vendor's part, for
    /// tools and tests. `None` when there is no secret.
    #[must_use]
    pub fn sign(
        self,
        parts: Parts<'_>,
        secrets: &Secrets,
        message_id: &str,
        at: Timestamp,
    ) -> Option<Vec<(String, String)>> {
        match self {
            Source::Ada => Some(secrets.ada.first()?.headers(message_id, parts.body, at)),
            Source::Agntix => Some(secrets.agntix.first()?.headers(message_id, parts.body, at)),
            Source::Vapi(_) => secrets.vapi.first()?.sign(parts, message_id, at),
            Source::AgKit => None,
        }
    }

    /// Reads what the body tells.
    #[must_use]
    pub fn parse(self, document: &Document<'_>) -> Parsed {
        match self {
            Source::Ada => ada::parse(document),
            Source::Agntix => agntix::parse(document),
            Source::Vapi(_) => vapi::parse(document),
            Source::AgKit => chat::parse(document),
        }
    }

    /// Names the event of a delivery that says `fingerprint` and whose recording has `nonce`.
    #[must_use]
    pub fn identify(
        self,
        document: &Document<'_>,
        verified: &Verified,
        fingerprint: &Fingerprint,
        nonce: &Nonce,
    ) -> Identity {
        match self {
            Source::Ada => ada::identify(verified),
            Source::Agntix => agntix::identify(document, verified),
            Source::Vapi(channel) => vapi::identify(channel, document, verified, fingerprint, nonce),
            Source::AgKit => chat::identify(document),
        }
    }

    /// What the delivery says, without what is known to differ between two deliveries of one event.
    #[must_use]
    pub fn fingerprint(self, document: &Document<'_>) -> Fingerprint {
        match self {
            Source::Ada | Source::Agntix | Source::AgKit => Fingerprint::of(document.text()),
            Source::Vapi(_) => vapi::fingerprint(document),
        }
    }

    /// The event of a delivery whose identity is known: what the front door records at once and `event-retry` later.
    #[must_use]
    pub fn event(self, document: &Document<'_>, envelope: Envelope) -> Event {
        let parsed = self.parse(document);
        let is_one_question = match self {
            Source::Vapi(_) => vapi::is_one_question(parsed.event_type.as_deref(), &envelope.event_id),
            Source::Ada | Source::Agntix | Source::AgKit => false,
        };
        Event {
            is_one_question,
            id: envelope.event_id,
            source: self.vendor().to_owned(),
            event_type: parsed.event_type.map(gatehouse_inbox::event::word),
            subject: parsed.subject,
            occurred_at: parsed.occurred_at.unwrap_or(envelope.received_at),
            received_at: envelope.received_at,
            fingerprint: envelope.fingerprint,
            nonce: envelope.nonce,
            verified_by: envelope.verified_by,
            body: envelope.body,
            answer: envelope.answer,
            marks: Marks {
                unparsed: parsed.unparsed,
                weak_identity: envelope.weak_identity,
                undated: parsed.occurred_at.is_none(),
            },
        }
    }

    /// The body of a 200, where nothing better was decided.
    #[must_use]
    pub fn respond(self, outcome: Outcome, id: &EventId) -> String {
        match self {
            Source::Ada => ada::respond(outcome, id),
            Source::Agntix => agntix::respond(outcome, id),
            Source::Vapi(_) | Source::AgKit => vapi::respond(),
        }
    }
}
