//! Secrets from Secrets Manager: looked up, kept, rotated.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use gatehouse_edge::secrets::{DEVELOPMENT, SecretsCache};
use gatehouse_edge::signature::SigningKey;
use gatehouse_edge::{Deadline, Receiver, Redaction, Skip};
use gatehouse_inbox::Clock;
use gatehouse_inbox::event::BODY_LIMIT;
use gatehouse_local::{Fault, Rule, SecretsManager, Testbed, local_sdk};
use http::Request;
use tokio::sync::watch;

use crate::support::{MESSAGE, items, now, stack};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

struct Front {
    door: Receiver,
    manager: SecretsManager,
    clock: Clock,
    stack: Testbed,
}

impl Front {
    /// How often the document was looked up.
    fn looks(&self) -> usize {
        self.manager.proxy.counts().values().sum()
    }

    async fn start(document: &str) -> Front {
        let (stack, manager, clock) =
            (stack().await, SecretsManager::start(document).await.unwrap(), Clock::manual(now()));
        let inbox = stack.inbox(clock.clone());
        let sdk = local_sdk(&manager.proxy.url());
        let secrets = SecretsCache::manager(&sdk, "arn:secrets".to_owned(), false, clock.clone());
        Front {
            door: Receiver {
                inbox,
                secrets,
                redaction: Redaction::default(),
                skip: Skip::default(),
                body_limit: BODY_LIMIT,
            },
            manager,
            clock,
            stack,
        }
    }

    /// The status of a delivery signed with `secret`.
    async fn status(&self, secret: &str) -> u16 {
        self.deliver("msg_1", &[secret]).await
    }

    /// The status of a delivery that several secrets sign, as Ada's are while one takes another's place.
    async fn deliver(&self, message_id: &str, secrets: &[&str]) -> u16 {
        let timestamp = self.clock.now().as_secs().to_string();
        let sign = |secret: &&str| SigningKey::parse(secret).unwrap().sign(message_id, &timestamp, MESSAGE.as_bytes());
        let signatures: Vec<String> = secrets.iter().map(sign).collect();
        let request = Request::post("/")
            .header("svix-id", message_id)
            .header("svix-timestamp", &timestamp)
            .header("svix-signature", signatures.join(" "))
            .body(Bytes::from(MESSAGE))
            .unwrap();
        let deadline = Deadline::within(std::time::Duration::from_secs(10));
        let endpoint = gatehouse_edge::Endpoint {
            function: "conversation-webhooks",
            paths: &["/"],
            source: gatehouse_edge::Source::Ada,
        };
        let response = self.door.receive(&endpoint, request, deadline).await;
        response.status().as_u16()
    }
}

fn document(secrets: &[&str]) -> String {
    serde_json::json!({"ada": {"signing_secrets": secrets}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_looked_up_once_and_kept() {
    let front = Front::start(&document(&[OLD])).await;
    for _ in 0..3 {
        assert_eq!(front.status(OLD).await, 200);
    }
    assert_eq!(front.looks(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_the_document_is_looked_up_waits_for_it() {
    let front = Front::start(&document(&[OLD])).await;
    assert_eq!(tokio::join!(front.status(OLD), front.status(OLD)), (200, 200));
    assert_eq!(front.looks(), 1);
    front.manager.put(&document(&[NEW]));
    front.clock.advance(31);
    assert_eq!(tokio::join!(front.status(NEW), front.status(NEW)), (200, 200), "after a mismatch");
    assert_eq!(front.looks(), 2);
    front.manager.put(&document(&[OLD]));
    front.clock.advance(3600);
    assert_eq!(tokio::join!(front.status(NEW), front.status(NEW)), (401, 401), "one that is too old is not used");
    assert_eq!(front.looks(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mismatch_finds_a_rotated_secret_at_once_but_looks_at_most_every_half_minute() {
    let front = Front::start(&document(&[OLD])).await;
    assert_eq!(front.status(OLD).await, 200);
    front.manager.put(&document(&[NEW, OLD]));
    assert_eq!(front.status(NEW).await, 401, "the document is seconds old");
    front.clock.advance(31);
    assert_eq!(front.status(NEW).await, 200);
    assert_eq!(front.status(OLD).await, 200);
    assert_eq!(front.looks(), 2);
    let stranger = "whsec_c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXI=";
    for _ in 0..5 {
        assert_eq!(front.status(stranger).await, 401);
    }
    assert_eq!(front.looks(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_can_tell_whether_a_secret_is_current_the_answer_is_503() {
    let front = Front::start(&document(&[OLD])).await;
    assert_eq!(front.status(OLD).await, 200);
    front.manager.put(&document(&[NEW]));
    front.manager.proxy.fail(Rule::every(Fault::Cut));
    front.clock.advance(31);
    assert_eq!(front.status(NEW).await, 503, "the look-up failed");
    assert_eq!(front.status(NEW).await, 503, "the look-up is not due again");
    assert_eq!(front.status(OLD).await, 200, "what matches needs no look-up");
    front.manager.proxy.heal();
    front.clock.advance(31);
    assert_eq!(front.status(NEW).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_document_is_refreshed_beside_a_record() {
    let front = Front::start(&document(&[OLD])).await;
    assert_eq!(front.status(OLD).await, 200);
    front.manager.put(&document(&[NEW]));
    front.clock.advance(301);
    assert_eq!(front.status(OLD).await, 200, "still by the old document");
    assert_eq!(front.looks(), 2);
    assert_eq!(front.status(NEW).await, 200);
    assert_eq!(front.status(OLD).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheme_added_for_vapi_is_found_although_no_known_header_is_there() {
    let scheme = |header: &str| {
        format!(r#"{{"kind":"bearer","header":"{header}","prefix":"","values":["a-token-of-some-length"]}}"#)
    };
    let document = |schemes: &[&str]| {
        let schemes: Vec<String> = schemes.iter().map(|header| scheme(header)).collect();
        format!(r#"{{"vapi":{{"schemes":[{}]}}}}"#, schemes.join(","))
    };
    let front = Front::start(&document(&["x-old"])).await;
    let status = async |header: &str| {
        let request =
            Request::post("/client").header(header, "a-token-of-some-length").body(Bytes::from("{}")).unwrap();
        let endpoint = client_message::ENDPOINT;
        let deadline = Deadline::within(std::time::Duration::from_secs(10));
        front.door.receive(&endpoint, request, deadline).await.status().as_u16()
    };
    assert_eq!(status("x-old").await, 200);
    front.manager.put(&document(&["x-old", "x-new"]));
    front.clock.advance(31);
    assert_eq!(status("x-new").await, 200);
    assert_eq!(front.looks(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_slept_learns_of_a_revoked_secret_before_it_verifies() {
    let front = Front::start(&document(&[OLD])).await;
    assert_eq!(front.status(OLD).await, 200);
    front.manager.put(&document(&[NEW]));
    front.clock.advance(3600);
    assert_eq!(front.status(OLD).await, 401);
    assert_eq!(front.looks(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_document_never_replaces_a_good_one() {
    let front = Front::start(&document(&[OLD])).await;
    assert_eq!(front.status(OLD).await, 200);
    front.manager.put("whsec_pasted_as_it_is");
    front.clock.advance(301);
    for _ in 0..2 {
        assert_eq!(front.status(OLD).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_usable_secret_the_answer_is_503_and_recovers() {
    let front = Front::start("{}").await;
    assert_eq!(front.status(OLD).await, 503);
    front.manager.put(DEVELOPMENT);
    front.clock.advance(31);
    assert_eq!(front.status(&gatehouse_local::delivery::secret("/ada/signing_secrets/0")).await, 503);
    front.manager.put(&document(&[OLD]));
    front.clock.advance(31);
    assert_eq!(front.status(OLD).await, 200);
    assert!(front.stack.sqs.counts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_there_are_no_secrets_a_flood_of_requests_is_no_flood_of_look_ups() {
    let front = Front::start("not json").await;
    for _ in 0..5 {
        assert_eq!(front.status(OLD).await, 503);
    }
    assert_eq!(front.looks(), 1);
    front.manager.put(&document(&[OLD]));
    front.clock.advance(5);
    assert_eq!(front.status(OLD).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_signature_beside_a_rotated_token_does_not_hide_the_rotation() {
    let document = |token: &str| {
        format!(
            r#"{{"vapi":{{"schemes":[{{"kind":"bearer","header":"authorization","prefix":"Bearer ","values":["{token}"]}},
                {{"kind":"hmac","algorithm":"sha256","signature_header":"x-signature","timestamp_header":"x-timestamp",
                "payload_format":"{{timestamp}}.{{body}}","encoding":"hex","values":["a-key-of-at-least-24-bytes"]}}]}}}}"#
        )
    };
    let front = Front::start(&document("a-token-of-some-length")).await;
    let status = async |token: &str| {
        let request = Request::post("/client").header("authorization", format!("Bearer {token}"));
        let request = request.header("x-signature", "00").header("x-timestamp", "1").body(Bytes::from("{}")).unwrap();
        let deadline = Deadline::within(std::time::Duration::from_secs(10));
        front.door.receive(&client_message::ENDPOINT, request, deadline).await.status().as_u16()
    };
    assert_eq!(status("a-token-of-some-length").await, 200);
    front.manager.put(&document("another-token-of-some-length"));
    front.clock.advance(31);
    assert_eq!(status("another-token-of-some-length").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_never_answer_cost_at_most_their_share_of_the_five_seconds() {
    let front = Front::start(&document(&[OLD])).await;
    front.manager.proxy.fail(Rule::every(Fault::Hang));
    let started = tokio::time::Instant::now();
    assert_eq!(front.status(OLD).await, 503);
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
}

/// Twelve senders that never pause, while every step of a rotation is taken, the look-ups fail for a while, and
/// forgeries come.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_load_loses_nothing_and_refuses_nobody() {
    const SENDERS: usize = 12;
    const STEP: usize = 60;
    let front = Front::start(&document(&[OLD])).await;
    let signs_with: Mutex<&[&str]> = Mutex::new(&[OLD]);
    let (sent, (is_over, over)) = (AtomicUsize::new(0), watch::channel(false));
    let sender = async |n: usize| {
        let mut answered = Vec::new();
        for count in 0.. {
            if *over.borrow() {
                break;
            }
            let (id, secrets) = (format!("msg_{n}_{count}"), *signs_with.lock().unwrap());
            // What Ada does about a 503.
            let mut statuses = vec![front.deliver(&id, secrets).await];
            while statuses.ends_with(&[503]) && statuses.len() < 100 {
                tokio::task::yield_now().await;
                statuses.push(front.deliver(&id, secrets).await);
            }
            sent.fetch_add(1, Ordering::Relaxed);
            answered.push((id, statuses));
        }
        answered
    };
    let forger = async || {
        while !*over.borrow() {
            let status = front.deliver("msg_forged", &["whsec_c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXI="]).await;
            assert!([401, 503].contains(&status), "{status}");
            tokio::task::yield_now().await;
        }
    };
    // A minute passes for every so many deliveries.
    let minutes = async |minutes: usize| {
        for _ in 0..minutes {
            let until = sent.load(Ordering::Relaxed) + STEP;
            while sent.load(Ordering::Relaxed) < until {
                tokio::task::yield_now().await;
            }
            front.clock.advance(60);
        }
    };
    let rotation = async {
        minutes(2).await;
        // Put beside the old one; while nobody can look it up, nothing changes.
        front.manager.proxy.fail(Rule::every(Fault::Cut));
        front.manager.put(&document(&[NEW, OLD]));
        minutes(3).await;
        front.manager.proxy.heal();
        minutes(6).await;
        // Ada signs with both, then with the new one alone.
        *signs_with.lock().unwrap() = &[NEW, OLD];
        minutes(2).await;
        *signs_with.lock().unwrap() = &[NEW];
        minutes(2).await;
        front.manager.put(&document(&[NEW]));
        minutes(6).await;
        is_over.send(true).unwrap();
    };
    let senders = futures_util::future::join_all((0..SENDERS).map(sender));
    let (answered, (), ()) = tokio::join!(senders, forger(), rotation);

    let answered: Vec<_> = answered.into_iter().flatten().collect();
    assert!(answered.len() >= 21 * STEP);
    let refused: Vec<_> = answered.iter().filter(|(_, statuses)| *statuses != [200]).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(items(&front.stack).await, answered.len(), "every event is recorded once");
    // At most one look-up in half a minute of its time, forgeries or not.
    assert!(front.looks() <= 1 + 2 * 2 * 21, "{}", front.looks());
    assert_eq!(front.status(OLD).await, 401);
}
