//! The client against servers on this machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_runtime::Clock;
use gatehouse_services::question::message_id;
use gatehouse_services::{Client, Fault, PART, Payload, Question, Service, Services, Target};
use gatehouse_vendor::SecretsDocument;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = r#"{"message":{"type":"tool-calls"}}"#;

fn client() -> Client {
    let http = ScopedClient::new(&Tls::none().unwrap(), Duration::from_secs(1));
    Client::with_http(http, SdkConfig::builder().build(), Clock::System, true)
}

fn question(within_ms: u64) -> Question {
    Question {
        message_id: message_id("vapi:server:tool-calls:a", None),
        event_id: "vapi:server:tool-calls:a".to_owned(),
        kind: "tool-calls".to_owned(),
        body: Bytes::from_static(BODY.as_bytes()),
        until: Instant::now() + Duration::from_millis(within_ms),
    }
}

/// A server that answers each request with the next of its responses, and then repeats the last one. An empty response
/// closes the connection; `None` never answers.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(responses: Vec<Option<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut served = 0;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                let response = responses.get(served).or(responses.last()).cloned().unwrap();
                served += 1;
                match response {
                    Some(response) => drop(stream.write_all(response.as_bytes()).await),
                    None => drop(tokio::spawn(async move {
                        let _stream = stream;
                        std::future::pending::<()>().await;
                    })),
                }
            }
        });
        Server { port, requests }
    }

    async fn answering(response: &str) -> Self {
        Self::start(vec![Some(response.to_owned())]).await
    }

    fn services(&self) -> Services {
        let url = format!("http://127.0.0.1:{}/vapi?x=1", self.port).parse().unwrap();
        Services::from_map(BTreeMap::from([("orders".to_owned(), Service::at(url))]))
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"}") {
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "the request is incomplete");
        request.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(request).unwrap()
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

async fn ask(server: &Server) -> Result<Option<Bytes>, Fault> {
    client().ask(&server.services(), "orders", &question(5000)).await
}

#[tokio::test]
async fn request_is_the_body_signed_by_standard_webhooks() {
    let server = Server::answering(&response("200 OK", "{\"results\":[]}")).await;
    let document = format!(
        r#"{{"services":{{"orders":{{"url":"http://127.0.0.1:{}/vapi?x=1","signing_secrets":["{SECRET}","whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],"headers":{{"X-Vapi-Secret":"word"}}}}}}}}"#,
        server.port
    );
    let (services, defects): (Services, _) = SecretsDocument::parse(&document, true).unwrap().read(&PART);
    assert_eq!(defects, Vec::<String>::new());
    let answer = client().ask(&services, "orders", &question(5000)).await;
    assert_eq!(answer, Ok(Some(Bytes::from("{\"results\":[]}"))));
    let request = server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, BODY);
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /vapi?x=1 HTTP/1.1"));
    let headers: BTreeMap<&str, &str> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-vapi-secret"], "word");
    assert_eq!(headers["gatehouse-event-id"], "vapi:server:tool-calls:a");
    assert_eq!(headers["idempotency-key"], headers["webhook-id"]);
    assert!(headers["webhook-id"].starts_with("evt_") && headers["webhook-id"].len() == 68);
    assert!((1..=5000).contains(&headers["gatehouse-deadline-ms"].parse::<u64>().unwrap()));
    // The crate of the specification accepts the signatures of both secrets.
    for secret in [SECRET, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"] {
        let mut signed = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            signed.insert(name, headers[name].parse().unwrap());
        }
        standardwebhooks::Webhook::new(secret).unwrap().verify(body.as_bytes(), &signed).unwrap();
    }
}

#[tokio::test]
async fn response_is_an_answer_no_answer_or_a_fault() {
    let unusable = |reason: &str| Err(Fault::Unusable(reason.to_owned()));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(65_536));
    for (status, body, expected) in [
        ("200 OK", "{\"a\":1}", Ok(Some(Bytes::from("{\"a\":1}")))),
        ("201 Created", " {\"a\" : 1}\n", Ok(Some(Bytes::from(" {\"a\" : 1}\n")))),
        ("200 OK", "{}", Ok(None)),
        ("200 OK", "{ \n}", Ok(None)),
        ("200 OK", " \n", Ok(None)),
        ("204 No Content", "", Ok(None)),
        ("200 OK", "[]", unusable("not a JSON object")),
        ("200 OK", "null", unusable("not a JSON object")),
        ("200 OK", "{\"a\":1} x", unusable("not a JSON object")),
        ("200 OK", "<html>", unusable("not a JSON object")),
        ("200 OK", &long, unusable("more than 64 KiB")),
        ("302 Found", "{\"a\":1}", Err(Fault::Status(302))),
        ("404 Not Found", "{\"a\":1}", Err(Fault::Status(404))),
        ("500 Internal Server Error", "", Err(Fault::Status(500))),
    ] {
        let server = Server::answering(&response(status, body)).await;
        assert_eq!(ask(&server).await, expected, "{status} {:.40}", body);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn endless_response_is_read_up_to_the_limit() {
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let body = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", chunk.repeat(8));
    let server = Server::answering(&body).await;
    assert_eq!(ask(&server).await, Err(Fault::Unusable("more than 64 KiB".to_owned())));
}

#[tokio::test]
async fn slow_service_is_a_timeout_and_is_not_asked_again() {
    let server = Server::start(vec![None]).await;
    let answer = client().ask(&server.services(), "orders", &question(200)).await;
    assert_eq!((answer, server.requests().len()), (Err(Fault::Timeout), 1));
}

#[tokio::test]
async fn question_that_was_sent_is_not_sent_again() {
    let server = Server::answering("").await;
    assert_eq!((ask(&server).await, server.requests().len()), (Err(Fault::Broken), 1));
}

#[tokio::test]
async fn unreachable_undefined_and_loopback_services_are_faults() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let services = Services::from_map(BTreeMap::from([("orders".to_owned(), Service::at(url.parse().unwrap()))]));
    assert_eq!(client().ask(&services, "orders", &question(5000)).await, Err(Fault::Connect));
    assert_eq!(client().ask(&services, "stock", &question(5000)).await, Err(Fault::Undefined));
    let http = ScopedClient::new(&Tls::none().unwrap(), Duration::from_secs(1));
    let deployed = Client::with_http(http, SdkConfig::builder().build(), Clock::System, false);
    assert_eq!(deployed.ask(&services, "orders", &question(5000)).await, Err(Fault::Loopback));
}

#[tokio::test]
async fn breaker_stops_questions_after_five_failures() {
    let server = Server::answering(&response("503 Service Unavailable", "")).await;
    let (client, services) = (client(), server.services());
    for _ in 0..5 {
        assert_eq!(client.ask(&services, "orders", &question(5000)).await, Err(Fault::Status(503)));
    }
    assert_eq!(client.ask(&services, "orders", &question(5000)).await, Err(Fault::Breaker));
    assert_eq!(server.requests().len(), 5);
}

/// A client whose Lambda is `server`.
fn client_of_lambda(server: &Server) -> Client {
    let credentials = Credentials::new("key", "secret", None, None, "test");
    let sdk = SdkConfig::builder()
        .endpoint_url(format!("http://127.0.0.1:{}", server.port))
        .region(aws_config::Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let http = ScopedClient::new(&Tls::none().unwrap(), Duration::from_secs(1));
    Client::with_http(http, sdk, Clock::System, false)
}

fn function(payload: Payload) -> Services {
    let target = Target::Lambda { function: "book:live".to_owned(), payload };
    let service = Service { target, signing_keys: Vec::new(), headers: Vec::new() };
    Services::from_map(BTreeMap::from([("booking".to_owned(), service)]))
}

#[tokio::test]
async fn function_is_invoked_with_the_message_or_the_event_of_a_function_url() {
    let answers = [
        (Payload::Message, "{\"a\":1}".to_owned()),
        (Payload::Http, serde_json::json!({"statusCode": 200, "body": "{\"a\":1}"}).to_string()),
    ];
    for (payload, answer) in answers {
        let server = Server::answering(&response("200 OK", &answer)).await;
        let asked = client_of_lambda(&server).ask(&function(payload), "booking", &question(5000)).await;
        assert_eq!(asked, Ok(Some(Bytes::from("{\"a\":1}"))));
        let request = server.requests().remove(0);
        assert!(request.starts_with("POST /2015-03-31/functions/book%3Alive/invocations HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: AWS4-HMAC-SHA256 Credential=key/"), "{request}");
        let event: serde_json::Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        match payload {
            Payload::Message => assert_eq!(event["gatehouse"]["kind"], "tool-calls"),
            Payload::Http => assert_eq!(event["body"], BODY),
        }
    }
}

#[tokio::test]
async fn failed_and_throttled_functions_are_faults() {
    let failed =
        "HTTP/1.1 200 OK\r\nx-amz-function-error: Unhandled\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    for (answer, expected) in [
        (failed.to_owned(), Err(Fault::FunctionError)),
        (response("429 Too Many Requests", "{}"), Err(Fault::Status(429))),
        (response("200 OK", "null"), Ok(None)),
    ] {
        let server = Server::answering(&answer).await;
        let asked = client_of_lambda(&server).ask(&function(Payload::Message), "booking", &question(5000)).await;
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn function_without_credentials_is_a_fault_that_names_no_secret() {
    let asked = client().ask(&function(Payload::Message), "booking", &question(5000)).await;
    assert_eq!(asked, Err(Fault::Request("no AWS region is set".to_owned())));
}
