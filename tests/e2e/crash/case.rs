//! What is struck, where and how.

use std::fmt;
use std::sync::LazyLock;

use gatehouse_local::delivery::noise;
use gatehouse_local::random::Random;
use gatehouse_local::{Delivery, Fault, Rule};

use crate::support::now;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    ClientMessage,
    ServerMessage,
    ConversationWebhooks,
    SessionLifecycle,
    EventRetry,
}

/// The request that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// The conditional write: before it lies verification, behind it the answer. In a batch, one of several.
    Put,
    /// The second write of a conflict.
    ConflictPut,
    /// One of a large event's chunks.
    Chunk,
    /// A large event's head, when all its chunks are written.
    Head,
    /// The envelope to the retry queue, while DynamoDB is away.
    Queue,
    /// `event-retry`: the copy to the dead-letter queue.
    DeadLetter,
    /// `event-retry`: the change of a failed message's visibility.
    Hide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// The process is killed; the request was not applied.
    KillBefore,
    /// The process is killed; the request was applied, and not answered.
    KillAfter,
    Cut,
    LoseAnswer,
    Hang,
    Delay,
    Throttle,
    Internal,
    TransactionConflict,
    Invalid,
}

const BLOWS: [Blow; 10] = [
    Blow::KillBefore,
    Blow::KillAfter,
    Blow::Cut,
    Blow::LoseAnswer,
    Blow::Hang,
    Blow::Delay,
    Blow::Throttle,
    Blow::Internal,
    Blow::TransactionConflict,
    Blow::Invalid,
];

/// Every function, at every point it has, in every way.
pub(super) static CASES: LazyLock<Vec<(Function, Point, Blow)>> = LazyLock::new(|| {
    use Function::{ClientMessage, ConversationWebhooks, EventRetry, ServerMessage, SessionLifecycle};
    let front = [Point::Put, Point::ConflictPut, Point::Chunk, Point::Head, Point::Queue];
    let retry = [Point::Put, Point::ConflictPut, Point::Chunk, Point::Head, Point::DeadLetter, Point::Hide];
    let of = |function, points: &[Point]| points.iter().map(|point| (function, *point)).collect::<Vec<_>>();
    let fronts = [ClientMessage, ServerMessage, ConversationWebhooks, SessionLifecycle];
    let fronts = fronts.into_iter().flat_map(|function| of(function, &front));
    let places = fronts.chain(of(EventRetry, &retry));
    places.flat_map(|(function, point)| BLOWS.map(|blow| (function, point, blow))).collect()
});

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) function: Function,
    pub(super) point: Point,
    pub(super) blow: Blow,
    /// Decides everything else.
    pub(super) random: Random,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?} by {:?}", self.function, self.point, self.blow)
    }
}

impl Case {
    pub(super) fn of(seed: u64) -> Case {
        let count = u64::try_from(CASES.len()).unwrap();
        let (function, point, blow) = CASES[usize::try_from(seed % count).unwrap()];
        Case { function, point, blow, random: Random::new(seed) }
    }

    pub(super) fn kills(&self) -> bool {
        matches!(self.blow, Blow::KillBefore | Blow::KillAfter)
    }

    pub(super) fn is_large(&self) -> bool {
        matches!(self.point, Point::Chunk | Point::Head)
    }

    /// The blow as a rule of a proxy.
    pub(super) fn rule(&mut self) -> Rule {
        let fault = match self.blow {
            Blow::KillBefore | Blow::Hang => Fault::Hang,
            Blow::KillAfter => Fault::HoldAnswer,
            Blow::Cut => Fault::Cut,
            Blow::LoseAnswer => Fault::LoseAnswer,
            Blow::Delay => Fault::Delay(std::time::Duration::from_millis(200)),
            Blow::Throttle => Fault::THROTTLE,
            Blow::Internal => Fault::INTERNAL,
            Blow::TransactionConflict => Fault::TRANSACTION_CONFLICT,
            Blow::Invalid => Fault::INVALID,
        };
        let rule = Rule::every(fault);
        // Once, so that the SDK's second attempt succeeds; or until the proxy is healed.
        if self.kills() || self.random.below(2) == 0 { rule.times(1) } else { rule }
    }

    /// An event of the function's vendor; of two under one name, each `text` makes another body.
    pub(super) fn delivery(&self, name: &str, text: &str) -> Delivery {
        let id = format!("msg_{name}");
        // Of Vapi's messages, only one that names what happened once can contradict another.
        let is_named = self.point == Point::ConflictPut;
        let named =
            format!(r#"{{"message":{{"type":"session.created","session":{{"id":"s_{name}"}},"text":"{text}"}}}}"#);
        let ada = || {
            let data = format!(r#"{{"conversation_id":"c_{name}","text":"{text}"}}"#);
            format!(r#"{{"type":"v1.conversation.message","timestamp":"2026-11-20T09:00:00Z","data":{data}}}"#)
        };
        match self.function {
            Function::ClientMessage if is_named => Delivery::vapi_client(named),
            Function::ServerMessage if is_named => Delivery::vapi_server(named),
            Function::ClientMessage => Delivery::vapi_client(format!(
                r#"{{"message":{{"type":"end-of-call-report","timestamp":1795173466000,"call":{{"id":"call_{name}"}},"text":"{text}"}}}}"#
            )),
            // One whose sender waits for an answer.
            Function::ServerMessage => Delivery::vapi_server(format!(
                r#"{{"message":{{"type":"tool-calls","call":{{"id":"call_{name}"}},"toolCallList":[{{"id":"tool_{name}","name":"n"}}],"text":"{text}"}}}}"#
            )),
            Function::SessionLifecycle => Delivery::agntix(
                &id,
                format!(
                    r#"{{"id":"s_{name}","eventType":"session.ended","endedAt":"2026-11-20T09:00:00Z","text":"{text}"}}"#
                ),
                now(),
            ),
            Function::ConversationWebhooks | Function::EventRetry => Delivery::ada(&id, ada(), now()),
        }
    }

    /// As [`delivery`](Self::delivery), and too large for one item.
    pub(super) fn large_delivery(&mut self, name: &str) -> Delivery {
        let text = noise(self.random.next(), 560_000);
        self.delivery(name, &text)
    }
}
