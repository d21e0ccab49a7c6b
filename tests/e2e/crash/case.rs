//! Cases: which function fails, at which request, and how.

use std::fmt;
use std::sync::LazyLock;

use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_local::delivery::noise;
use gatehouse_local::random::Random;
use gatehouse_local::{Delivery, Fault, Rule};
use gatehouse_vapi::Vapi;

use crate::support::now;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    ClientMessage,
    ServerMessage,
    ConversationWebhooks,
    SessionLifecycle,
    EventRetry,
}

/// The request at which a case fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// The conditional write of one event, after verification and before the response.
    Put,
    /// The second write of a conflict.
    ConflictPut,
    /// One of a large event's chunks.
    Chunk,
    /// A large event's head, which is written after all its chunks.
    Head,
    /// The message to the retry queue while DynamoDB is unavailable.
    Queue,
    /// `event-retry`: the message to the dead-letter queue.
    DeadLetter,
    /// `event-retry`: the change of a failed message's visibility.
    Hide,
}

/// How the function or its request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The process is killed; the request was not applied.
    KillBefore,
    /// The process is killed; the request was applied, but not answered.
    KillAfter,
    Cut,
    DropResponse,
    Hang,
    Delay,
    Throttle,
    Internal,
    TransactionConflict,
    Invalid,
}

const FAILURES: [Failure; 10] = [
    Failure::KillBefore,
    Failure::KillAfter,
    Failure::Cut,
    Failure::DropResponse,
    Failure::Hang,
    Failure::Delay,
    Failure::Throttle,
    Failure::Internal,
    Failure::TransactionConflict,
    Failure::Invalid,
];

/// Every function with each of its points and each failure.
pub(super) static CASES: LazyLock<Vec<(Function, Point, Failure)>> = LazyLock::new(|| {
    use Function::{ClientMessage, ConversationWebhooks, EventRetry, ServerMessage, SessionLifecycle};
    let front = [Point::Put, Point::ConflictPut, Point::Chunk, Point::Head, Point::Queue];
    let retry = [Point::Put, Point::ConflictPut, Point::Chunk, Point::Head, Point::DeadLetter, Point::Hide];
    let of = |function, points: &[Point]| points.iter().map(|point| (function, *point)).collect::<Vec<_>>();
    let fronts = [ClientMessage, ServerMessage, ConversationWebhooks, SessionLifecycle];
    let fronts = fronts.into_iter().flat_map(|function| of(function, &front));
    let points = fronts.chain(of(EventRetry, &retry));
    points.flat_map(|(function, point)| FAILURES.map(|failure| (function, point, failure))).collect()
});

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) function: Function,
    pub(super) point: Point,
    pub(super) failure: Failure,
    /// Determines everything else.
    pub(super) random: Random,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?} by {:?}", self.function, self.point, self.failure)
    }
}

impl Case {
    pub(super) fn of(seed: u64) -> Case {
        let count = u64::try_from(CASES.len()).unwrap();
        let (function, point, failure) = CASES[usize::try_from(seed % count).unwrap()];
        Case { function, point, failure, random: Random::new(seed) }
    }

    pub(super) fn kills(&self) -> bool {
        matches!(self.failure, Failure::KillBefore | Failure::KillAfter)
    }

    pub(super) fn is_large(&self) -> bool {
        matches!(self.point, Point::Chunk | Point::Head)
    }

    /// The proxy rule that causes the failure.
    pub(super) fn rule(&mut self) -> Rule {
        let fault = match self.failure {
            Failure::KillBefore | Failure::Hang => Fault::Hang,
            Failure::KillAfter => Fault::HoldResponse,
            Failure::Cut => Fault::Cut,
            Failure::DropResponse => Fault::DropResponse,
            Failure::Delay => Fault::Delay(std::time::Duration::from_millis(200)),
            Failure::Throttle => Fault::THROTTLE,
            Failure::Internal => Fault::INTERNAL,
            Failure::TransactionConflict => Fault::TRANSACTION_CONFLICT,
            Failure::Invalid => Fault::INVALID,
        };
        let rule = Rule::every(fault);
        // The rule applies once, so that the SDK's second attempt succeeds, or until the rules are cleared.
        if self.kills() || self.random.below(2) == 0 { rule.times(1) } else { rule }
    }

    /// An event of the function's vendor. Events with the same name and different `text` have one id and two bodies.
    pub(super) fn delivery(&self, name: &str, text: &str) -> Delivery {
        let id = format!("msg_{name}");
        // Vapi messages can conflict only if their event id does not depend on their body.
        let has_fixed_id = self.point == Point::ConflictPut;
        let session =
            format!(r#"{{"message":{{"type":"session.created","session":{{"id":"s_{name}"}},"text":"{text}"}}}}"#);
        let ada = || {
            let data = format!(r#"{{"conversation_id":"c_{name}","text":"{text}"}}"#);
            format!(r#"{{"type":"v1.conversation.message","timestamp":"2026-11-20T09:00:00Z","data":{data}}}"#)
        };
        match self.function {
            Function::ClientMessage if has_fixed_id => Delivery::now(&Vapi::CLIENT, session),
            Function::ServerMessage if has_fixed_id => Delivery::now(&Vapi::SERVER, session),
            Function::ClientMessage => Delivery::now(
                &Vapi::CLIENT,
                format!(
                    r#"{{"message":{{"type":"end-of-call-report","timestamp":1795173466000,"call":{{"id":"call_{name}"}},"text":"{text}"}}}}"#
                ),
            ),
            // A request: Vapi waits for the reply.
            Function::ServerMessage => Delivery::now(
                &Vapi::SERVER,
                format!(
                    r#"{{"message":{{"type":"tool-calls","call":{{"id":"call_{name}"}},"toolCallList":[{{"id":"tool_{name}","name":"n"}}],"text":"{text}"}}}}"#
                ),
            ),
            Function::SessionLifecycle => Delivery::of(
                &Agntix,
                &id,
                format!(
                    r#"{{"id":"s_{name}","eventType":"session.ended","endedAt":"2026-11-20T09:00:00Z","text":"{text}"}}"#
                ),
                now(),
            ),
            Function::ConversationWebhooks | Function::EventRetry => Delivery::of(&Ada, &id, ada(), now()),
        }
    }

    /// Like [`delivery`](Self::delivery), but too large for one item.
    pub(super) fn large_delivery(&mut self, name: &str) -> Delivery {
        let text = noise(self.random.next(), 560_000);
        self.delivery(name, &text)
    }
}
