//! Generates the plan of a seed.

use gatehouse_vendors::SOURCES;

use super::{
    ACTED, Action, Ask, Breakage, DAY, DESTINATIONS, Death, Deliver, EventSpec, Fault, FaultKind, Function, HOUR,
    MINUTE, Ms, Operation, Plan, Poison, SECOND, Service, Signer, TTL_DAYS, Variant, What,
};
use crate::chance::Chance;

/// How long records are stored in a schedule, in milliseconds.
const TTL: Ms = TTL_DAYS as Ms * DAY;

/// The weights of a schedule: what it is mainly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Webhooks,
    Chat,
    Mixed,
    /// No faults at all: the costs must be exactly those that are documented.
    Calm,
}

impl Plan {
    /// Returns the plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Plan {
        let mut chance = Chance::of(seed, &[0]);
        let theme = match chance.between(0, 100) {
            0..45 => Theme::Webhooks,
            45..70 => Theme::Chat,
            70..92 => Theme::Mixed,
            _ => Theme::Calm,
        };
        let sources: Vec<usize> = (0..SOURCES.len()).filter(|n| !SOURCES[*n].samples().is_empty()).collect();
        let event_count = chance.between(6, 14);
        let per_subject = chance.between(1, 4);
        let has_large = chance.happens(25);
        let focus = chance.happens(400).then(|| *chance.pick(&sources));
        let events = (0..event_count).map(|n| {
            let source = focus.unwrap_or_else(|| *chance.pick(&sources));
            let samples = SOURCES[source].samples().len() as u64;
            let group = per_subject.min(samples);
            // The events of one subject are of different types.
            let first = Chance::of(seed, &[7, source as u64, n / group]).between(0, samples);
            let mut sample = usize::try_from((first + n % group) % samples).unwrap_or_default();
            let all = SOURCES[source].samples();
            if let Some(acted) = all.iter().position(|sample| sample.name == ACTED).filter(|_| chance.happens(150)) {
                sample = acted;
            }
            let large = has_large && n == 0;
            let mut spec = EventSpec { source, sample, subject: n / group, large, is_undated: false };
            spec.is_undated = spec.has_action() && chance.happens(150);
            spec
        });
        let events: Vec<EventSpec> = events.collect();
        let horizon = *chance.pick(&[2 * MINUTE, 20 * MINUTE, 3 * HOUR, 3 * HOUR, 2 * DAY, 40 * DAY]);
        let moments: Vec<Ms> =
            (0..chance.between(1, 5)).map(|n| if n == 0 { 0 } else { chance.between(0, horizon) }).collect();
        let mut plan = Plan { seed, events, actions: Vec::new(), has_deliveries: false };
        plan.add_deliveries(theme, &moments, &mut chance);
        if horizon > TTL {
            plan.add_late_deliveries(&mut chance);
        }
        plan.add_turns(theme, &moments, &mut chance);
        if theme != Theme::Calm {
            plan.add_faults(theme, &moments, &mut chance);
        }
        plan.add_operations(theme, &moments, &mut chance);
        // These choices do not change the others.
        plan.add_destinations(theme, &moments, &mut Chance::of(seed, &[8]));
        plan
    }

    /// Returns the index of an event.
    fn any_event(&self, chance: &mut Chance) -> usize {
        chance.between(0, self.events.len() as u64).try_into().unwrap_or_default()
    }

    fn add(&mut self, at: Ms, what: What) {
        self.actions.push(Action { n: self.actions.len(), at, what });
    }

    fn add_deliveries(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        let count = match theme {
            Theme::Chat => chance.between(0, 6),
            Theme::Mixed => chance.between(20, 23),
            Theme::Webhooks | Theme::Calm => chance.between(20, 26),
        };
        for _ in 0..count {
            let deliver = Deliver {
                event: self.any_event(chance),
                variant: if chance.happens(120) { Variant::Other } else { Variant::Original },
                is_doubled: theme != Theme::Calm && chance.happens(120),
                retries: chance.happens(600),
                signer: match chance.between(0, 1000) {
                    0..20 if theme != Theme::Calm => Signer::WrongSecret,
                    20..40 if theme != Theme::Calm => Signer::Tampered,
                    40..60 if theme != Theme::Calm => Signer::RemovedSecret,
                    _ => Signer::Vendor,
                },
            };
            let at = near(moments, chance);
            self.add(at, What::Deliver(deliver));
        }
    }

    /// Adds an erasure, and deliveries about its subject before and after it. An instance that handles both learns of
    /// the erasure while it records the second one.
    fn add_erasure(&mut self, moments: &[Ms], chance: &mut Chance) {
        let event: usize = self.any_event(chance);
        let same = |n: &usize| {
            let (spec, other) = (self.events[event], self.events[*n]);
            (spec.source, spec.subject) == (other.source, other.subject)
        };
        let events: Vec<usize> = (0..self.events.len()).filter(same).collect();
        self.events[event].large |= chance.happens(60);
        let at = near(moments, chance);
        // Most instances read the list of erased subjects again, because it is a minute old.
        let later =
            at + if chance.happens(700) { chance.between(MINUTE, 3 * MINUTE) } else { chance.between(0, MINUTE) };
        let (first, other) = (*chance.pick(&events), chance.between(0, events.len() as u64));
        let other = events[usize::try_from(other).unwrap_or_default()];
        for (at, event) in [(at, first), (later, if other == first { event } else { other })] {
            let variant = if chance.happens(120) { Variant::Other } else { Variant::Original };
            let retries = chance.happens(600);
            let deliver = Deliver { event, variant, is_doubled: false, retries, signer: Signer::Vendor };
            self.add(at, What::Deliver(deliver));
        }
        let erased_at = at + chance.between(0, later - at + 2 * SECOND);
        self.add(erased_at, What::Erase(event));
        if chance.happens(300) {
            let other = self.any_event(chance);
            self.add(erased_at + chance.between(0, 40), What::Erase(other));
        }
        if chance.happens(700) {
            use FaultKind::{Lost, ResponseCut, ResponseLost, Slow};
            let kind = *chance.pick(&[ResponseCut, ResponseCut, ResponseLost, Slow, Lost]);
            let share = *chance.pick(&[300, 600]);
            let fault = Fault { service: Service::DynamoDb, kind, share, lasts: 3 * SECOND };
            let around = *chance.pick(&[later, later, erased_at]);
            self.add((around + chance.between(0, 300)).saturating_sub(200), What::Fault(fault));
        }
    }

    /// Adds the rotation of a secret, and a delivery that is signed with the removed one, to an instance that had it.
    fn add_rotation(&mut self, moments: &[Ms], chance: &mut Chance) {
        let event: usize = self.any_event(chance);
        let part = SOURCES[self.events[event].source].profile().secrets.name;
        let at = near(moments, chance);
        let mut deliver = |at: Ms, signer: Signer| {
            let deliver = Deliver { event, variant: Variant::Original, is_doubled: false, retries: false, signer };
            self.add(at, What::Deliver(deliver));
        };
        deliver(at, Signer::Vendor);
        let removed_at = at + 22 * MINUTE;
        deliver(removed_at + chance.between(0, 2 * HOUR), Signer::RemovedSecret);
        self.add(at + chance.between(0, MINUTE), What::Rotate(part));
    }

    /// Adds deliveries of events whose records are about to expire, or have just expired.
    fn add_late_deliveries(&mut self, chance: &mut Chance) {
        let deliveries = self.actions.clone();
        for _ in 0..chance.between(1, 4).min(deliveries.len() as u64) {
            let first = chance.pick(&deliveries);
            let What::Deliver(deliver) = first.what else { continue };
            let at = (first.at + TTL + chance.between(0, 4 * MINUTE)).saturating_sub(2 * MINUTE);
            self.add(at, What::Deliver(deliver));
        }
    }

    fn add_turns(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        let count = match theme {
            Theme::Webhooks => 0,
            Theme::Mixed => chance.between(1, 5),
            Theme::Chat | Theme::Calm => chance.between(5, 10),
        };
        let keys = chance.between(1, 4);
        for _ in 0..count {
            let key = chance.happens(750).then(|| u8::try_from(chance.between(0, keys)).unwrap_or_default());
            let ask = Ask {
                client: match chance.between(0, 100) {
                    0..50 => 0,
                    50..85 => 1,
                    _ => 2,
                },
                key,
                // A key belongs to one body, except rarely.
                body: match key {
                    Some(key) if !chance.happens(60) => key,
                    _ => u8::try_from(chance.between(0, 8)).unwrap_or_default(),
                },
                leaves_after: chance.happens(250).then(|| {
                    let latest = *chance.pick(&[40, SECOND, 20 * SECOND]);
                    chance.between(0, latest)
                }),
                retries: chance.happens(600),
                is_forged: theme != Theme::Calm && chance.happens(30),
                is_json: chance.happens(150),
            };
            let at = near(moments, chance);
            self.add(at, What::Ask(ask));
        }
    }

    fn add_faults(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        use FaultKind::{
            Cut, Denied, Internal, Lost, Rejected, ResponseCut, ResponseLost, Slow, Throttled, Unreachable,
        };
        const KINDS: [FaultKind; 10] =
            [Throttled, Internal, Denied, Rejected, Lost, Cut, ResponseLost, ResponseCut, Slow, Unreachable];
        const WEBHOOK_SERVICES: &[Service] = &[
            Service::DynamoDb,
            Service::DynamoDb,
            Service::DynamoDb,
            Service::Sqs,
            Service::Sqs,
            Service::SecretsManager,
            Service::Control,
            Service::Control,
            Service::UserService,
            Service::UserService,
            Service::Gatehouse,
        ];
        const CHAT_SERVICES: &[Service] = &[
            Service::DynamoDb,
            Service::DynamoDb,
            Service::DynamoDb,
            Service::Sqs,
            Service::SecretsManager,
            Service::Agent,
            Service::Agent,
            Service::Gatehouse,
        ];
        let services = if theme == Theme::Chat { CHAT_SERVICES } else { WEBHOOK_SERVICES };
        for _ in 0..chance.between(2, 8) {
            let service = *chance.pick(services);
            let fault = Fault {
                service,
                kind: *chance.pick(&KINDS),
                share: *chance.pick(&[80, 300, 600, 1000]),
                lasts: match chance.between(0, 40) {
                    // Longer than a back-off of event-retry.
                    0 => 10 * MINUTE,
                    _ => *chance.pick(&[500, 500, 3 * SECOND, 3 * SECOND, 8 * SECOND, 20 * SECOND, MINUTE]),
                },
            };
            let at = near(moments, chance);
            self.add(at, What::Fault(fault));
        }
        let mut functions: Vec<Function> =
            self.events.iter().filter_map(|spec| Function::named(SOURCES[spec.source].profile().function)).collect();
        if theme != Theme::Webhooks {
            functions.extend([Function::AgentChat; 4]);
        }
        functions.extend([Function::EventRetry; 2]);
        for _ in 0..chance.between(2, 7) {
            let function = *chance.pick(&functions);
            let what = match chance.between(0, 10) {
                0..6 => kill(function, 6, chance),
                6..8 => What::Pause { function, lasts: *chance.pick(&[300, 3 * SECOND, 12 * SECOND, 20 * SECOND]) },
                _ => What::Retire(function),
            };
            let at = near(moments, chance);
            self.add(at, what);
        }
    }

    fn add_operations(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        self.add(near(moments, chance) + chance.between(0, DAY), What::Sweep);
        if theme == Theme::Calm {
            return;
        }
        let parts: Vec<&'static str> = SOURCES.iter().map(|source| source.profile().secrets.name).collect();
        // Some schedules are about erasures.
        if chance.happens(120) {
            (0..chance.between(1, 5)).for_each(|_| self.add_erasure(moments, chance));
        }
        if chance.happens(80) {
            self.add_rotation(moments, chance);
        }
        for _ in 0..chance.between(0, 5) {
            let at = near(moments, chance);
            let what = match chance.between(0, 14) {
                0..2 => What::Deploy(u8::try_from(chance.between(0, 2)).unwrap_or_default()),
                2..4 => What::Rotate(chance.pick::<&'static str>(&parts)),
                4..7 if self.actions.len().is_multiple_of(2) => What::RedriveAll,
                4..7 => What::RedriveEach,
                7..10 => What::Erase(self.any_event(chance)),
                10 => What::Lag(*chance.pick(&[2 * SECOND, MINUTE])),
                11 => What::Sweep,
                12 => {
                    let part = *chance.pick(&parts);
                    let breakage = if chance.happens(500) { Breakage::Document } else { Breakage::Part(part) };
                    What::BreakSecrets(breakage, *chance.pick(&[MINUTE, 20 * MINUTE, 3 * HOUR]))
                }
                _ => What::Poison(if chance.happens(500) { Poison::Garbage } else { Poison::Newer }),
            };
            let at = if matches!(what, What::RedriveAll | What::RedriveEach) {
                at + chance.between(0, 8 * HOUR)
            } else {
                at
            };
            self.add(at, what);
        }
    }
}

/// Deliveries to destinations.
impl Plan {
    /// Decides whether events are delivered, and adds what disturbs the deliveries.
    fn add_destinations(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        self.has_deliveries = chance.happens(400);
        if !self.has_deliveries || theme == Theme::Calm {
            return;
        }
        for _ in 0..chance.between(0, 5) {
            let fault = self.any_destination_fault(chance);
            self.add(near(moments, chance), What::Fault(fault));
        }
        for _ in 0..chance.between(0, 6) {
            let function = *chance.pick(&[Function::Outbox, Function::Deliver, Function::Deliver]);
            let what = match chance.between(0, 10) {
                0..7 => kill(function, 12, chance),
                7 => What::Pause { function, lasts: *chance.pick(&[300, 3 * SECOND, 20 * SECOND, 90 * SECOND]) },
                _ => What::Retire(function),
            };
            self.add(near(moments, chance), what);
        }
        for _ in 0..chance.between(0, 3) {
            use Operation::{Disable, Discard, Enable, Resend};
            let destination = usize::from(chance.happens(300)) % DESTINATIONS.len();
            let operation = *chance.pick(&[Disable, Enable, Resend, Resend, Discard]);
            let at = near(moments, chance) + if chance.happens(300) { chance.between(0, 8 * HOUR) } else { 0 };
            self.add(at, What::Destination(destination, operation));
        }
    }

    /// Returns a fault of a destination, or of a service on which deliveries depend.
    fn any_destination_fault(&self, chance: &mut Chance) -> Fault {
        use FaultKind::{Cut, Internal, Lost, ResponseCut, ResponseLost, Slow, Throttled, Unreachable};
        let service = *chance.pick(&[
            Service::Crm,
            Service::Crm,
            Service::Crm,
            Service::Archive,
            Service::DynamoDb,
            Service::Sqs,
        ]);
        let kinds = [Throttled, Internal, Lost, Cut, ResponseLost, ResponseCut, Slow, Unreachable];
        let lasts = match service {
            Service::Crm | Service::Archive => *chance.pick(&[3 * SECOND, MINUTE, 20 * MINUTE, 6 * HOUR, 4 * DAY]),
            _ => *chance.pick(&[500, 3 * SECOND, 20 * SECOND, 3 * MINUTE]),
        };
        Fault { service, kind: *chance.pick(&kinds), share: *chance.pick(&[300, 600, 1000]), lasts }
    }
}

/// Kills an instance at one of its next `requests` requests.
fn kill(function: Function, requests: u64, chance: &mut Chance) -> What {
    let after = chance.between(0, requests);
    let death = if chance.happens(500) { Death::AfterRequest } else { Death::BeforeRequest };
    What::Kill { function, after, death }
}

/// Returns a time near one of the moments.
fn near(moments: &[Ms], chance: &mut Chance) -> Ms {
    let spread = *chance.pick(&[200, 3 * SECOND, 30 * SECOND, 5 * MINUTE]);
    *chance.pick(moments) + chance.between(0, spread)
}
