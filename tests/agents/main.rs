//! Tests agent-chat with the AG-Kit servers of the Python Package Index. A proxy splits their responses into chunks, or
//! cuts them off at every event. `cargo test` skips this target, because it needs those servers. `.ci/check-agents`
//! installs them and runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod chopper;

use std::path::PathBuf;
use std::process::Stdio;

use bytes::Bytes;
use chopper::{Chopper, Mode};
use gatehouse_local::delivery::{Client, Delivery};
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Options, Testbed};
use gatehouse_runtime::Clock;
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const TOKEN: &str = "client-token-for-the-servers";
/// The user messages that select a response of the agent in `server.py`.
const PROMPTS: [&str; 7] = ["words", "tools", "large", "interrupt", "break", "break at once", "nothing"];

/// A server of one dialect.
struct Server {
    dialect: &'static str,
    port: u16,
    _process: Child,
}

impl Server {
    async fn start(version: &str, dialect: &'static str) -> Server {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let servers = std::env::var_os("GATEHOUSE_AGENT_SERVERS").map(PathBuf::from);
        let servers = servers.expect("GATEHOUSE_AGENT_SERVERS is not set; run .ci/check-agents");
        let mut process = Command::new(servers.join(version).join("bin/python"))
            .arg(root.join("agents/server.py"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        Server { dialect, port: line.trim().parse().unwrap(), _process: process }
    }

    async fn both() -> [Server; 2] {
        [Server::start("0.1.1", "ag-kit").await, Server::start("0.1.22", "ag-ui").await]
    }

    /// A request with this user message.
    fn body(&self, prompt: &str) -> Value {
        let message = json!({"id": "m", "role": "user", "content": prompt});
        match self.dialect {
            "ag-kit" => json!({"conversationId": "c", "messages": [message]}),
            _ => json!({"threadId": "c", "runId": "r", "messages": [message]}),
        }
    }

    /// Sends a request to the server without agent-chat. Returns the status and the bytes of the body.
    async fn directly(&self, path: &str, body: &Value) -> (u16, Vec<u8>) {
        let client = Client::new(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (function, path, method) = (String::new(), String::new(), "POST".to_owned());
        let delivery = Delivery { function, path, method, headers, body: Bytes::from(body.to_string()) };
        let response = client.open(&delivery).await.unwrap();
        let (status, mut body, mut bytes) = (response.status().as_u16(), response.into_body(), Vec::new());
        while let Some(Ok(frame)) = body.frame().await {
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        (status, bytes)
    }

    /// Sends a request to the server. Returns all bytes of the response, including its head.
    async fn raw_response(&self, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let head = format!(
            "POST /send-message HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        while !raw.ends_with(b"0\r\n\r\n") && stream.read_buf(&mut raw).await.is_ok_and(|read| read > 0) {}
        raw
    }

    /// Sends a request to agent-chat, which reaches the server through a [`Chopper`].
    async fn through_agent_chat(&self, stack: &Testbed, path: &str, body: &Value, mode: Mode) -> Response<Bytes> {
        let chopper = Chopper::start(self.port, mode).await;
        let url = format!("http://{}{path}", chopper.address);
        let secrets = json!({"agent_chat": {"clients": [{"id": "web", "token": TOKEN, "agents": ["*"]}],
                             "agents": {"a": {"url": url, "dialect": self.dialect}}}});
        // The deployed binary if CI has built it, otherwise the one that `cargo test` builds.
        let binary = std::env::var("GATEHOUSE_AGENT_CHAT");
        let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_under-test-agent-chat").to_owned());
        let secrets = secrets.to_string();
        let mut host = stack.host(binary, agent_chat::TIMEOUT, &[("GATEHOUSE_SECRETS", &secrets)]).await.unwrap();
        let headers = [("authorization", format!("Bearer {TOKEN}")), ("content-type", "application/json".to_owned())];
        let delivery = Delivery {
            function: agent_chat::FUNCTION.to_owned(),
            path: "v1/aibot/bots/a/send-message".to_owned(),
            method: "POST".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: Bytes::from(body.to_string()),
        };
        let Invoked::Answered(answer) = host.invoke(&delivery.to_lambda_event()).await.unwrap() else {
            panic!("the function failed")
        };
        let mut response = Response::builder().status(u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap());
        for (name, value) in answer["headers"].as_object().unwrap() {
            response = response.header(name, value.as_str().unwrap());
        }
        response.body(Bytes::from(answer["body"].as_str().unwrap().to_owned())).unwrap()
    }
}

async fn stack() -> Testbed {
    Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap()
}

/// The positions at which events end. These servers end lines with LF.
fn ends(bytes: &[u8]) -> Vec<usize> {
    bytes.windows(2).enumerate().filter(|(_, two)| two == b"\n\n").map(|(at, _)| at + 2).collect()
}

/// Checks the response of agent-chat against the bytes that the server had sent.
fn check_response(name: &str, dialect: &str, sent: &[u8], response: &Response<Bytes>) {
    let (status, relayed) = (response.status().as_u16(), response.body());
    let text = String::from_utf8_lossy(sent);
    let events: Vec<&str> = text.split_inclusive("\n\n").filter(|event| event.ends_with("\n\n")).collect();
    let failed_to_start = events.first().is_some_and(|event| event.starts_with("data: {\"error\""));
    if events.is_empty() || failed_to_start {
        assert_eq!(status, 502, "{name}");
        return;
    }
    assert_eq!(status, 200, "{name}");
    let marks: &[&str] = match dialect {
        "ag-kit" => &["data: [DONE]\n\n"],
        _ => &["data: {\"type\":\"RUN_FINISHED\"", "data: {\"type\":\"RUN_ERROR\""],
    };
    let has_ended = events.iter().any(|event| marks.iter().any(|mark| event.starts_with(mark)));
    let whole = events.concat();
    let tail = relayed.strip_prefix(whole.as_bytes());
    let tail = tail.unwrap_or_else(|| panic!("{name}: {}", String::from_utf8_lossy(relayed)));
    if has_ended {
        assert!(tail.is_empty(), "{name}: {}", String::from_utf8_lossy(tail));
    } else {
        let kind = if dialect == "ag-kit" { "error" } else { "RUN_ERROR" };
        let event: Value = serde_json::from_slice(tail.strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!(event["type"], kind, "{name}");
        assert!(!event.to_string().contains("in confidence"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_in_chunks_of_any_size_is_relayed_unchanged() {
    let stack = stack().await;
    for server in Server::both().await {
        for prompt in PROMPTS {
            let body = server.body(prompt);
            let (status, direct) = server.directly("/send-message", &body).await;
            assert_eq!(status, 200);
            for mode in [Mode::Chunks(usize::MAX), Mode::Chunks(1), Mode::Chunks(7)] {
                // The large response would take a minute with one byte at a time.
                if prompt == "large" && mode == Mode::Chunks(1) {
                    continue;
                }
                let name = format!("{} {prompt}, {mode:?}", server.dialect);
                let response = server.through_agent_chat(&stack, "/send-message", &body, mode).await;
                check_response(&name, server.dialect, &direct, &response);
                let turn_id = response.headers()["gatehouse-turn-id"].to_str().unwrap();
                let id = gatehouse_ag_kit::event_id(turn_id);
                let turn = stack.store().get(&id, Clock::System.now()).await.unwrap().unwrap();
                let turn: Value = serde_json::from_slice(&turn.event.body).unwrap();
                assert_eq!(turn["answer"].as_str().unwrap().as_bytes(), direct, "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn response_that_is_cut_off_ends_in_one_error_event() {
    let stack = stack().await;
    let mut cuts = 0;
    for server in Server::both().await {
        for prompt in PROMPTS {
            let body = server.body(prompt);
            let raw = server.raw_response(&body).await;
            let head = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let after = ends(&raw).into_iter().filter(|end| *end > head);
            for cut in [head].into_iter().chain(after.flat_map(|end| [end - 3, end - 1, end])) {
                let response = server.through_agent_chat(&stack, "/send-message", &body, Mode::CutAfter(cut)).await;
                // The body consists of events and, between them, the lengths of HTTP chunks.
                let start = raw.windows(6).position(|six| six == b"data: ").unwrap_or(cut).min(cut);
                let passed = raw.get(start..cut).unwrap();
                let sent: Vec<u8> = passed
                    .split_inclusive(|byte| *byte == b'\n')
                    .filter(|line| !line.ends_with(b"\r\n"))
                    .flatten()
                    .copied()
                    .collect();
                check_response(
                    &format!("{} {prompt}, cut after {cut}", server.dialect),
                    server.dialect,
                    &sent,
                    &response,
                );
                cuts += 1;
            }
        }
    }
    assert!(cuts > 100, "{cuts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_start_returns_502_without_the_server_error() {
    let stack = stack().await;
    for server in Server::both().await {
        let response = server
            .through_agent_chat(&stack, "/broken/send-message", &server.body("words"), Mode::Chunks(usize::MAX))
            .await;
        assert_eq!(response.status(), 502, "{}", server.dialect);
        assert!(!String::from_utf8_lossy(response.body()).contains("in confidence"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_accepts_exactly_the_requests_the_server_accepts() {
    let stack = stack().await;
    let [kit, ui] = Server::both().await;
    let user = json!({"id": "m", "role": "user", "content": "nothing"});
    let with = |server: &Server, name: &str, value: Value| {
        let mut body = server.body("nothing");
        body[name] = value;
        body
    };
    let assistant = json!({"id": "a", "role": "assistant", "content": null});
    let tool = json!({"name": "clock", "description": "tells the time", "parameters": {"type": "object"}});
    let cases = [
        (&kit, with(&kit, "messages", json!([user, assistant]))),
        (&kit, with(&kit, "messages", json!([{"role": "system", "content": ""}, user]))),
        (&kit, with(&kit, "messages", json!([{"id": "t", "role": "tool", "content": "x", "toolCallId": "c"}]))),
        (&kit, with(&kit, "messages", json!([]))),
        (&kit, with(&kit, "tools", json!([tool]))),
        (&kit, with(&kit, "resume", json!({"interruptId": "i", "payload": "yes"}))),
        (&kit, with(&kit, "later", json!([1, null]))),
        (&kit, with(&kit, "messages", json!([{"role": "tool", "content": "x"}]))),
        (&kit, with(&kit, "messages", json!([{"role": "user"}]))),
        (&kit, with(&kit, "messages", json!([{"role": "robot", "content": "x"}]))),
        (&kit, with(&kit, "messages", json!("x"))),
        (&kit, with(&kit, "tools", json!([{"name": "clock"}]))),
        (&kit, with(&kit, "resume", json!({"payload": "yes"}))),
        (&kit, json!({"messages": [user]})),
        (&ui, with(&ui, "messages", json!([user, assistant]))),
        (&ui, with(&ui, "tools", json!([tool]))),
        (&ui, with(&ui, "context", json!([{"description": "d", "value": "v"}]))),
        (&ui, with(&ui, "state", json!({"a": 1}))),
        (&ui, with(&ui, "forwardedProps", json!({"a": 1}))),
        (&ui, with(&ui, "later", json!([1, null]))),
        (&ui, json!({"messages": [user]})),
        (&ui, with(&ui, "messages", json!([{"id": "m", "role": "robot", "content": "x"}]))),
        (&ui, with(&ui, "messages", json!("x"))),
        (&ui, with(&ui, "messages", json!(null))),
        (&ui, with(&ui, "resume", json!({"interruptId": "i", "payload": "yes"}))),
        (&ui, json!({"threadId": "c"})),
    ];
    let (mut accepted, mut differ) = (0, Vec::new());
    for (server, body) in cases {
        let (direct, _) = server.directly("/send-message", &body).await;
        let through =
            server.through_agent_chat(&stack, "/send-message", &body, Mode::Chunks(usize::MAX)).await.status().as_u16();
        accepted += usize::from(through == 200);
        if (direct == 200) != (through == 200) || (direct != 200 && ![400, 422].contains(&through)) {
            differ.push(format!("{} {body}: {direct} directly, {through} through agent-chat", server.dialect));
        }
    }
    assert!(differ.is_empty() && accepted > 10, "{}", differ.join("\n"));
}
