//! Tests loading, caching and rotating secrets in Secrets Manager.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_local::{Fault, Rule, SecretsManager, Testbed, local_sdk};
use gatehouse_payload::event::BODY_LIMIT;
use gatehouse_receiver::{Deadline, Receiver, Redaction, SecretsCache, Skip};
use gatehouse_runtime::Clock;
use gatehouse_vendor::Vendor;
use gatehouse_vendor::signature::SigningKey;
use gatehouse_vendors::development;
use http::Request;
use tokio::sync::watch;

use crate::support::{MESSAGE, items, now, stack};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

struct Setup<V: Vendor> {
    receiver: Receiver<V>,
    manager: SecretsManager,
    clock: Clock,
    stack: Testbed,
}

impl<V: Vendor> Setup<V> {
    /// Number of requests to Secrets Manager.
    fn loads(&self) -> usize {
        self.manager.proxy.counts().values().sum()
    }

    async fn start_for(vendor: V, document: &str) -> Setup<V> {
        let (stack, manager, clock) =
            (stack().await, SecretsManager::start(document).await.unwrap(), Clock::manual(now()));
        let inbox = stack.inbox(clock.clone());
        let sdk = local_sdk(&manager.proxy.url());
        let secrets =
            SecretsCache::manager(vendor.profile().secrets, &sdk, "arn:secrets".to_owned(), false, clock.clone());
        Setup {
            receiver: Receiver {
                vendor,
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
}

impl Setup<Ada> {
    async fn start(document: &str) -> Self {
        Self::start_for(Ada, document).await
    }

    /// Sends a delivery signed with `secret` and returns the status.
    async fn status(&self, secret: &str) -> u16 {
        self.deliver("msg_1", &[secret]).await
    }

    /// Sends a delivery signed with several secrets, as Ada does during a rotation, and returns the status.
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
        let response = self.receiver.receive(request, deadline).await;
        response.status().as_u16()
    }
}

fn document(secrets: &[&str]) -> String {
    serde_json::json!({"ada": {"signing_secrets": secrets}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_loaded_once_and_cached() {
    let setup = Setup::start(&document(&[OLD])).await;
    for _ in 0..3 {
        assert_eq!(setup.status(OLD).await, 200);
    }
    assert_eq!(setup.loads(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_one_load_of_secrets() {
    let setup = Setup::start(&document(&[OLD])).await;
    assert_eq!(tokio::join!(setup.status(OLD), setup.status(OLD)), (200, 200));
    assert_eq!(setup.loads(), 1);
    setup.manager.put(&document(&[NEW]));
    setup.clock.advance(31);
    assert_eq!(tokio::join!(setup.status(NEW), setup.status(NEW)), (200, 200), "after a mismatch");
    assert_eq!(setup.loads(), 2);
    setup.manager.put(&document(&[OLD]));
    setup.clock.advance(3600);
    assert_eq!(tokio::join!(setup.status(NEW), setup.status(NEW)), (401, 401), "expired secrets are not used");
    assert_eq!(setup.loads(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn mismatch_reloads_secrets_at_most_every_30_seconds() {
    let setup = Setup::start(&document(&[OLD])).await;
    assert_eq!(setup.status(OLD).await, 200);
    setup.manager.put(&document(&[NEW, OLD]));
    assert_eq!(setup.status(NEW).await, 401, "the document is seconds old");
    setup.clock.advance(31);
    assert_eq!(setup.status(NEW).await, 200);
    assert_eq!(setup.status(OLD).await, 200);
    assert_eq!(setup.loads(), 2);
    let stranger = "whsec_c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXI=";
    for _ in 0..5 {
        assert_eq!(setup.status(stranger).await, 401);
    }
    assert_eq!(setup.loads(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_reload_after_a_mismatch_returns_503() {
    let setup = Setup::start(&document(&[OLD])).await;
    assert_eq!(setup.status(OLD).await, 200);
    setup.manager.put(&document(&[NEW]));
    setup.manager.proxy.add_rule(Rule::every(Fault::Cut));
    setup.clock.advance(31);
    assert_eq!(setup.status(NEW).await, 503, "the reload failed");
    assert_eq!(setup.status(NEW).await, 503, "the next reload is not due");
    assert_eq!(setup.status(OLD).await, 200, "a match needs no reload");
    setup.manager.proxy.clear_rules();
    setup.clock.advance(31);
    assert_eq!(setup.status(NEW).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_secrets_are_refreshed_while_an_event_is_recorded() {
    let setup = Setup::start(&document(&[OLD])).await;
    assert_eq!(setup.status(OLD).await, 200);
    setup.manager.put(&document(&[NEW]));
    setup.clock.advance(301);
    assert_eq!(setup.status(OLD).await, 200, "verified with the old document");
    assert_eq!(setup.loads(), 2);
    assert_eq!(setup.status(NEW).await, 200);
    assert_eq!(setup.status(OLD).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_known_header_finds_an_added_scheme() {
    let scheme = |header: &str| {
        format!(r#"{{"kind":"bearer","header":"{header}","prefix":"","values":["a-token-of-some-length"]}}"#)
    };
    let document = |schemes: &[&str]| {
        let schemes: Vec<String> = schemes.iter().map(|header| scheme(header)).collect();
        format!(r#"{{"vapi":{{"schemes":[{}]}}}}"#, schemes.join(","))
    };
    let setup = Setup::start_for(client_message::VENDOR, &document(&["x-old"])).await;
    let status = async |header: &str| {
        let request =
            Request::post("/client").header(header, "a-token-of-some-length").body(Bytes::from("{}")).unwrap();
        let deadline = Deadline::within(std::time::Duration::from_secs(10));
        setup.receiver.receive(request, deadline).await.status().as_u16()
    };
    assert_eq!(status("x-old").await, 200);
    setup.manager.put(&document(&["x-old", "x-new"]));
    setup.clock.advance(31);
    assert_eq!(status("x-new").await, 200);
    assert_eq!(setup.loads(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_secrets_are_reloaded_before_verification() {
    let setup = Setup::start(&document(&[OLD])).await;
    assert_eq!(setup.status(OLD).await, 200);
    setup.manager.put(&document(&[NEW]));
    setup.clock.advance(3600);
    assert_eq!(setup.status(OLD).await, 401);
    assert_eq!(setup.loads(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_document_does_not_replace_valid_secrets() {
    let setup = Setup::start(&document(&[OLD])).await;
    assert_eq!(setup.status(OLD).await, 200);
    setup.manager.put("whsec_pasted_as_it_is");
    setup.clock.advance(301);
    for _ in 0..2 {
        assert_eq!(setup.status(OLD).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_secrets_return_503_until_they_are_stored() {
    let setup = Setup::start("{}").await;
    assert_eq!(setup.status(OLD).await, 503);
    setup.manager.put(development());
    setup.clock.advance(31);
    assert_eq!(setup.status(&gatehouse_local::delivery::secret("/ada/signing_secrets/0")).await, 503);
    setup.manager.put(&document(&[OLD]));
    setup.clock.advance(31);
    assert_eq!(setup.status(OLD).await, 200);
    assert!(setup.stack.sqs.counts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn request_flood_without_secrets_loads_them_once() {
    let setup = Setup::start("not json").await;
    for _ in 0..5 {
        assert_eq!(setup.status(OLD).await, 503);
    }
    assert_eq!(setup.loads(), 1);
    setup.manager.put(&document(&[OLD]));
    setup.clock.advance(5);
    assert_eq!(setup.status(OLD).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_signature_does_not_hide_a_rotated_token() {
    let document = |token: &str| {
        format!(
            r#"{{"vapi":{{"schemes":[{{"kind":"bearer","header":"authorization","prefix":"Bearer ","values":["{token}"]}},
                {{"kind":"hmac","algorithm":"sha256","signature_header":"x-signature","timestamp_header":"x-timestamp",
                "payload_format":"{{timestamp}}.{{body}}","encoding":"hex","values":["a-key-of-at-least-24-bytes"]}}]}}}}"#
        )
    };
    let setup = Setup::start_for(client_message::VENDOR, &document("a-token-of-some-length")).await;
    let status = async |token: &str| {
        let request = Request::post("/client").header("authorization", format!("Bearer {token}"));
        let request = request.header("x-signature", "00").header("x-timestamp", "1").body(Bytes::from("{}")).unwrap();
        let deadline = Deadline::within(std::time::Duration::from_secs(10));
        setup.receiver.receive(request, deadline).await.status().as_u16()
    };
    assert_eq!(status("a-token-of-some-length").await, 200);
    setup.manager.put(&document("another-token-of-some-length"));
    setup.clock.advance(31);
    assert_eq!(status("another-token-of-some-length").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_secrets_manager_returns_503_in_under_two_seconds() {
    let setup = Setup::start(&document(&[OLD])).await;
    setup.manager.proxy.add_rule(Rule::every(Fault::Hang));
    let started = tokio::time::Instant::now();
    assert_eq!(setup.status(OLD).await, 503);
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
}

/// Runs all steps of a rotation while twelve senders send deliveries without a pause, and another sends forgeries.
/// Reloads fail for some time.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_under_load_loses_and_refuses_nothing() {
    const SENDERS: usize = 12;
    const STEP: usize = 60;
    let setup = Setup::start(&document(&[OLD])).await;
    let signing_secrets: Mutex<&[&str]> = Mutex::new(&[OLD]);
    let (sent, (end, ended)) = (AtomicUsize::new(0), watch::channel(false));
    let sender = async |n: usize| {
        let mut answered = Vec::new();
        for count in 0.. {
            if *ended.borrow() {
                break;
            }
            let (id, secrets) = (format!("msg_{n}_{count}"), *signing_secrets.lock().unwrap());
            // Ada retries after a 503.
            let mut statuses = vec![setup.deliver(&id, secrets).await];
            while statuses.ends_with(&[503]) && statuses.len() < 100 {
                tokio::task::yield_now().await;
                statuses.push(setup.deliver(&id, secrets).await);
            }
            sent.fetch_add(1, Ordering::Relaxed);
            answered.push((id, statuses));
        }
        answered
    };
    let forger = async || {
        while !*ended.borrow() {
            let status = setup.deliver("msg_forged", &["whsec_c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXI="]).await;
            assert!([401, 503].contains(&status), "{status}");
            tokio::task::yield_now().await;
        }
    };
    // Advances the clock by a minute after every `STEP` deliveries.
    let advance_minutes = async |minutes: usize| {
        for _ in 0..minutes {
            let until = sent.load(Ordering::Relaxed) + STEP;
            while sent.load(Ordering::Relaxed) < until {
                tokio::task::yield_now().await;
            }
            setup.clock.advance(60);
        }
    };
    let rotation = async {
        advance_minutes(2).await;
        // The stored document gets the new secret in addition to the old one. It has no effect until it can be loaded.
        setup.manager.proxy.add_rule(Rule::every(Fault::Cut));
        setup.manager.put(&document(&[NEW, OLD]));
        advance_minutes(3).await;
        setup.manager.proxy.clear_rules();
        advance_minutes(6).await;
        // Ada signs with both secrets, then only with the new one.
        *signing_secrets.lock().unwrap() = &[NEW, OLD];
        advance_minutes(2).await;
        *signing_secrets.lock().unwrap() = &[NEW];
        advance_minutes(2).await;
        setup.manager.put(&document(&[NEW]));
        advance_minutes(6).await;
        end.send(true).unwrap();
    };
    let senders = futures_util::future::join_all((0..SENDERS).map(sender));
    let (answered, (), ()) = tokio::join!(senders, forger(), rotation);

    let answered: Vec<_> = answered.into_iter().flatten().collect();
    assert!(answered.len() >= 21 * STEP);
    let refused: Vec<_> = answered.iter().filter(|(_, statuses)| *statuses != [200]).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(items(&setup.stack).await, answered.len(), "every event is recorded once");
    // At most one reload every 30 s of the test clock, also with forgeries.
    assert!(setup.loads() <= 1 + 2 * 2 * 21, "{}", setup.loads());
    assert_eq!(setup.status(OLD).await, 401);
}
