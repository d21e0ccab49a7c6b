//! Tests authentication, JSON Web Tokens, and the limits of clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_chat::{Body, Limits};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use gatehouse_local::agent::{Agent, Answer};
use gatehouse_local::{Fault, Rule};
use http::Response;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::support::{Chat, DONE, KIT, TEXT, piece, problem, request, text, turn_id};

const ISSUER: &str = "https://id.example.com";
const LIMITED: &str = "limited-token-in-confidence";
/// A public key and a token signed with OpenSSL. The token expires in 2100.
const RS256: &str = include_str!("rs256.json");
const IN_2100: u64 = 4_102_444_800;

impl Chat {
    async fn send_as(&self, token: &str) -> Response<Body> {
        let mut request = request("kit").body(Bytes::from(KIT)).unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.send_request(request).await
    }

    async fn status_as(&self, token: &str) -> u16 {
        let response = self.send_as(token).await;
        let status = response.status().as_u16();
        text(response).await;
        status
    }
}

fn done(_: &gatehouse_local::agent::ReceivedRequest) -> Option<Answer> {
    Some(Answer::with_pieces([piece(TEXT), piece(DONE)]))
}

/// A token issuer and the server of its key set.
struct Issuer {
    key: EcdsaKeyPair,
    id: String,
    key_server: Agent,
    key_set: Arc<Mutex<Option<String>>>,
}

impl Issuer {
    async fn new() -> Issuer {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &SystemRandom::new());
        let key_set = Arc::new(Mutex::new(None::<String>));
        let published = Arc::clone(&key_set);
        let key_server = Agent::start(move |_| {
            let answer = Answer::with_pieces([piece(&published.lock().unwrap().clone()?)]);
            Some(Answer { content_type: "application/json", ..answer })
        });
        let key_server = key_server.await.unwrap();
        let issuer = Issuer { key: key.unwrap(), id: "ec-1".to_owned(), key_server, key_set };
        issuer.publish(&[issuer.jwk()]);
        issuer
    }

    fn publish(&self, keys: &[Value]) {
        *self.key_set.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": x, "y": y})
    }

    fn client(&self) -> Value {
        json!({"kind": "jwt", "issuer": ISSUER, "jwks_url": format!("{}/keys", self.key_server.url), "audience": "chat",
               "agents": ["kit"]})
    }

    async fn chat(&self) -> Chat {
        Chat::with_clients(json!([self.client()]), Limits::default(), done).await
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "JWT", "kid": self.id})
    }

    /// A valid token of a user.
    fn token_for(&self, sub: &str) -> String {
        self.token(&self.header(), &claims_of(sub))
    }
}

fn claims_of(sub: &str) -> Value {
    json!({"iss": ISSUER, "aud": "chat", "sub": sub, "exp": IN_2100})
}

#[allow(clippy::disallowed_methods, reason = "token expiry uses the machine's clock")]
fn seconds_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_user_is_recorded_with_issuer_and_subject() {
    let issuer = Issuer::new().await;
    let chat = issuer.chat().await;
    let response = chat.send_as(&issuer.token_for("user:1")).await;
    assert_eq!(response.status(), 200);
    let id = turn_id(&response);
    assert_eq!(text(response).await, format!("{TEXT}{DONE}"));
    assert_eq!(chat.record(&id).await["client"], "https://id.example.com:user%3A1");
    assert_eq!(chat.status_as(&issuer.token_for("user:2")).await, 200);
    assert_eq!(issuer.key_server.requests().len(), 1, "the keys are cached");
    let mut request = request("ui").body(Bytes::from(crate::support::UI)).unwrap();
    let bearer = format!("Bearer {}", issuer.token_for("user:1"));
    request.headers_mut().insert("authorization", bearer.parse().unwrap());
    assert_eq!(chat.send_request(request).await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn rs256_token_signed_by_openssl_is_accepted() {
    let issuer = Issuer::new().await;
    let fixture: Value = serde_json::from_str(RS256).unwrap();
    let token = fixture["token"].as_str().unwrap();
    let mut padded = fixture["jwk"].clone();
    let n = BASE64URL_NOPAD.decode(padded["n"].as_str().unwrap().as_bytes()).unwrap();
    padded["n"] = json!(BASE64URL_NOPAD.encode(&[vec![0], n].concat()));
    for jwk in [fixture["jwk"].clone(), padded] {
        // Keys of unknown kinds or of other algorithms are ignored.
        let others = [json!({"kty": "OKP", "crv": "Ed448", "x": ""}), json!({"kty": "new"}), json!(7), issuer.jwk()];
        issuer.publish(&[others.as_slice(), &[jwk]].concat());
        let chat = issuer.chat().await;
        let response = chat.send_as(token).await;
        assert_eq!(response.status(), 200);
        assert_eq!(chat.wait_for_record(&turn_id(&response)).await["client"], "https://id.example.com:user%3A1");
        let (head, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
        assert_eq!(chat.status_as(&forged).await, 401);
    }
    let mut for_encryption = fixture["jwk"].clone();
    for_encryption["use"] = json!("enc");
    issuer.publish(&[for_encryption, issuer.jwk()]);
    assert_eq!(issuer.chat().await.status_as(token).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_tokens_are_rejected() {
    let issuer = Issuer::new().await;
    let chat = issuer.chat().await;
    let with = |name: &str, value: Value| {
        let mut claims = claims_of("u");
        claims[name] = value;
        issuer.token(&issuer.header(), &claims)
    };
    let now = seconds_now();
    assert_eq!(chat.status_as(&with("exp", json!(now - 30))).await, 200, "clocks may differ by a minute");
    assert_eq!(chat.status_as(&with("nbf", json!(now + 30))).await, 200, "clocks may differ by a minute");
    assert_eq!(chat.status_as(&with("aud", json!(["x", "chat"]))).await, 200);
    let forwarded = chat.agent.requests().len();

    let good = issuer.token_for("u");
    let signed = |header: Value| issuer.token(&header, &claims_of("u"));
    let impostor = Issuer::new().await;
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    for (token, case) in [
        (with("exp", json!(now - 120)), "expired"),
        (with("exp", json!(null)), "never expires"),
        (with("exp", json!("soon")), "an expiry of the wrong type"),
        (with("nbf", json!(now + 120)), "not valid yet"),
        (with("aud", json!("other")), "for another audience"),
        (with("aud", json!(null)), "without an audience"),
        (with("iss", json!("https://other.example.com")), "by another issuer"),
        (with("iss", json!([ISSUER])), "by several issuers"),
        (with("sub", json!("")), "with an empty subject"),
        (with("sub", json!(null)), "without a subject"),
        (with("sub", json!(7)), "with a number as the subject"),
        (impostor.token_for("u"), "signed by another key with the same id"),
        (signed(json!({"alg": "ES256", "kid": "unknown"})), "with an unknown key id"),
        (signed(json!({"alg": "RS256", "kid": "ec-1"})), "with another algorithm"),
        (signed(json!({"alg": "HS256", "kid": "ec-1"})), "with a symmetric algorithm"),
        (signed(json!({"alg": "none"})), "without an algorithm"),
        (signed(json!({"alg": "ES256", "kid": "ec-1", "crit": ["x"], "x": 1})), "with a critical extension"),
        (unsigned, "unsigned"),
        (format!("{good}x"), "with a changed signature"),
        ("a.b.c".to_owned(), "not a token"),
        ("..".to_owned(), "not a token"),
    ] {
        let response = chat.send_as(&token).await;
        assert!(
            response.headers().get("www-authenticate").is_some_and(|value| value == "Bearer"),
            "{case}: {response:?}"
        );
        let (status, detail) = problem(response).await;
        assert_eq!(status, 401, "{case}");
        assert!(!detail.contains(&token), "{case}");
    }
    assert_eq!(chat.agent.requests().len(), forwarded);
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_keys_are_503_unless_they_are_cached() {
    let issuer = Issuer::new().await;
    *issuer.key_set.lock().unwrap() = None;
    let chat = issuer.chat().await;
    let refused = chat.send_as(&issuer.token_for("u")).await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem(refused).await.0, 503);

    for invalid in ["", "[]", "{}", &format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(300_000))] {
        *issuer.key_set.lock().unwrap() = Some(invalid.to_owned());
        assert_eq!(issuer.chat().await.status_as(&issuer.token_for("u")).await, 503, "{}", invalid.len());
    }

    issuer.publish(&[issuer.jwk()]);
    let chat = issuer.chat().await;
    assert_eq!(chat.status_as(&issuer.token_for("u")).await, 200);
    *issuer.key_set.lock().unwrap() = None;
    assert_eq!(chat.status_as(&issuer.token_for("u")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_key_refreshes_the_keys_unless_they_are_recent() {
    let issuer = Issuer::new().await;
    let rotated = Issuer { id: "ec-2".to_owned(), ..Issuer::new().await };
    let chat = issuer.chat().await;
    assert_eq!(chat.status_as(&issuer.token_for("u")).await, 200);
    assert_eq!(chat.status_as(&rotated.token_for("u")).await, 401, "the keys were refreshed just now");

    let chat = issuer.chat().await;
    issuer.publish(&[issuer.jwk(), rotated.jwk()]);
    assert_eq!(chat.status_as(&rotated.token_for("u")).await, 200);
    let without_key_id = rotated.token(&json!({"alg": "ES256"}), &claims_of("u"));
    assert_eq!(chat.status_as(&without_key_id).await, 200, "without a key id, all keys are tried");
    assert_eq!(issuer.key_server.requests().len(), 2, "one refresh for each instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_one_key_refresh() {
    let issuer = Issuer::new().await;
    let chat = Arc::new(issuer.chat().await);
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (chat, token) = (Arc::clone(&chat), issuer.token_for(&n.to_string()));
        requests.spawn(async move { chat.status_as(&token).await });
    }
    assert_eq!(requests.join_all().await, [200; 8]);
    assert_eq!(issuer.key_server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_without_clients_are_503() {
    let chat = Chat::answering(vec![piece(DONE)]).await;
    for part in [json!({}), json!({"clients": [], "unknown": 1}), json!({"agents": {}})] {
        let secrets = json!({"agent_chat": part}).to_string();
        let state = crate::support::state(chat.stack.inbox(chat.clock.clone()), &secrets, Limits::default());
        let request = request("kit").body(Bytes::from(KIT)).unwrap();
        let deadline = gatehouse_receiver::Deadline::within(Duration::from_secs(60));
        assert_eq!(agent_chat::handle(request, &state, deadline).await.status(), 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfirmed_slot_is_released_with_the_turn() {
    let chat = Chat::with_clients(limited(json!({"concurrent": 1})), Limits::default(), done).await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::HoldResponse).on("UpdateItem").containing("turns").times(2));
    chat.stack.dynamodb.add_rule(Rule::every(Fault::HoldResponse).on("PutItem").containing("in_minute").times(2));
    assert_eq!(chat.status_as(LIMITED).await, 200);
    chat.stack.dynamodb.clear_rules();
    assert_eq!(chat.status_as(LIMITED).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_of_a_key_set_is_not_followed() {
    let issuer = Issuer::new().await;
    let redirecting =
        Agent::start(|_| Some(Answer { status: http::StatusCode::FOUND, ..Answer::with_pieces([]) })).await.unwrap();
    let mut client = issuer.client();
    client["jwks_url"] = json!(format!("{}/keys", redirecting.url));
    let chat = Chat::with_clients(json!([client]), Limits::default(), done).await;
    assert_eq!(chat.status_as(&issuer.token_for("u")).await, 503);
}

fn limited(limits: Value) -> Value {
    json!([{"id": "two", "token": LIMITED, "agents": ["*"], "limits": limits}])
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_turns_over_the_limit_are_429() {
    let (senders, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| Answer::stream()).unzip();
    let answers = Mutex::new(answers);
    let next = move |_: &gatehouse_local::agent::ReceivedRequest| answers.lock().unwrap().pop();
    let chat = Chat::with_clients(limited(json!({"concurrent": 2})), Limits::default(), next).await;
    senders.iter().for_each(|sender| sender.send(piece(TEXT)).unwrap());
    let (first, second) = (chat.send_as(LIMITED).await, chat.send_as(LIMITED).await);
    let third = chat.send_as(LIMITED).await;
    assert_eq!(third.headers()["retry-after"], "2");
    assert_eq!(problem(third).await.0, 429);
    assert_eq!(chat.agent.requests().len(), 2);
    senders.iter().for_each(|sender| sender.send(piece(DONE)).unwrap());
    drop(senders);
    // The stream ends after the slot is released.
    text(first).await;
    assert_eq!(chat.status_as(LIMITED).await, 200);
    text(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_per_minute_are_limited_for_each_user() {
    let issuer = Issuer::new().await;
    let mut client = issuer.client();
    client["limits"] = json!({"per_minute": 2});
    let chat = Chat::with_clients(json!([client]), Limits::default(), done).await;
    for user in ["a", "b"] {
        let token = issuer.token_for(user);
        assert_eq!((chat.status_as(&token).await, chat.status_as(&token).await), (200, 200));
        let third = chat.send_as(&token).await;
        let after: i64 = third.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
        let (status, detail) = problem(third).await;
        assert_eq!(status, 429);
        assert!(detail.contains("minute"), "{detail}");
    }
    chat.clock.advance(60);
    assert_eq!(chat.status_as(&issuer.token_for("a")).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_turn_releases_its_key_and_replays_do_not_count() {
    let count = Arc::new(AtomicUsize::new(0));
    let answers = Arc::clone(&count);
    let answer = move |_: &gatehouse_local::agent::ReceivedRequest| {
        answers.fetch_add(1, Ordering::SeqCst);
        Some(Answer::with_pieces([piece(DONE)]))
    };
    let chat = Chat::with_clients(limited(json!({"per_minute": 1})), Limits::default(), answer).await;
    let send_with_key = async |key: &str| {
        let mut request = request("kit").header("idempotency-key", key).body(Bytes::from(KIT)).unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {LIMITED}").parse().unwrap());
        let response = chat.send_request(request).await;
        let status = response.status().as_u16();
        text(response).await;
        status
    };
    assert_eq!((send_with_key("a").await, send_with_key("a").await, send_with_key("b").await), (200, 200, 429));
    chat.clock.advance(60);
    assert_eq!((send_with_key("b").await, send_with_key("a").await, send_with_key("c").await), (200, 200, 429));
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_are_not_counted_while_dynamodb_is_unavailable() {
    let chat = Chat::with_clients(limited(json!({"concurrent": 1})), Limits::default(), done).await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    for _ in 0..2 {
        let response = tokio::time::timeout(Duration::from_secs(20), chat.send_as(LIMITED)).await.unwrap();
        assert_eq!(text(response).await, format!("{TEXT}{DONE}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_at_blocked_addresses_are_unreachable() {
    let chat = Chat::answering(vec![piece(DONE)]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (host, private) in
        [("[::ffff:127.0.0.1]", false), ("169.254.169.254", true), ("10.0.0.1", false), ("[fd00:ec2::254]", true)]
    {
        let agent = json!({"url": format!("https://{host}:{port}/x"), "dialect": "ag-kit", "private": private});
        let secrets = json!({"agent_chat": {"agents": {"kit": agent},
            "clients": [{"id": "web", "token": crate::support::TOKEN, "agents": ["*"]}]}});
        let state =
            crate::support::state(chat.stack.inbox(chat.clock.clone()), &secrets.to_string(), Limits::default());
        let request = request("kit").body(Bytes::from(KIT)).unwrap();
        let deadline = gatehouse_receiver::Deadline::within(Duration::from_secs(60));
        let (status, detail) = problem(agent_chat::handle(request, &state, deadline).await).await;
        assert_eq!((status, detail.as_str()), (502, "the agent cannot be reached"), "{host}");
    }
    let connected = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(connected.is_err(), "no connection was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_is_released_when_dynamodb_recovers() {
    let chat = Chat::with_clients(limited(json!({"concurrent": 1})), Limits::default(), done).await;
    for _ in 0..2 {
        chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("UpdateItem").containing("REMOVE slots").times(8));
        assert_eq!(chat.status_as(LIMITED).await, 200, "the stream ends after the slot is released");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_issuer_does_not_delay_other_issuers() {
    let slow = Agent::start(|_| {
        let (sender, answer) = Answer::stream();
        // The answer never ends.
        std::mem::forget(sender);
        Some(answer)
    });
    let (slow, issuer) = (slow.await.unwrap(), Issuer::new().await);
    let mut other = issuer.client();
    other["issuer"] = json!("https://slow.example.com");
    other["jwks_url"] = json!(format!("{}/keys", slow.url));
    let chat = Chat::with_clients(json!([other, issuer.client()]), Limits::default(), done).await;
    let chat = Arc::new(chat);
    let mut claims = claims_of("u");
    claims["iss"] = json!("https://slow.example.com");
    let (waiting, token) = (Arc::clone(&chat), issuer.token(&issuer.header(), &claims));
    let waiting = tokio::spawn(async move { waiting.status_as(&token).await });
    while slow.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(chat.status_as(&issuer.token_for("u")).await, 200);
    assert!(!waiting.is_finished());
    assert_eq!(waiting.await.unwrap(), 503);
}
