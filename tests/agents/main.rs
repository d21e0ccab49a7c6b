//! The proxy before the real AG-Kit servers of the Python package index, with every answer cut to single bytes, and cut off at
//! every event. Needs those servers, so it is a target that `cargo test` leaves out: `.ci/check-agents` installs them and runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod chopper;

use std::path::PathBuf;
use std::process::Stdio;

use bytes::Bytes;
use chopper::{Chopper, Way};
use gatehouse_inbox::Clock;
use gatehouse_local::delivery::{Client, Delivery};
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Options, Testbed};
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const TOKEN: &str = "client-token-for-the-servers";
/// What the agent of `server.py` can be asked for.
const SAID: [&str; 7] = ["words", "tools", "large", "interrupt", "break", "break at once", "nothing"];

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
        let servers = servers.expect("GATEHOUSE_AGENT_SERVERS is set: .ci/check-agents does it");
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

    /// A request that says this.
    fn body(&self, said: &str) -> Value {
        let message = json!({"id": "m", "role": "user", "content": said});
        match self.dialect {
            "ag-kit" => json!({"conversationId": "c", "messages": [message]}),
            _ => json!({"threadId": "c", "runId": "r", "messages": [message]}),
        }
    }

    /// What the server itself answers: its status, and the bytes until it ended or was cut.
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

    /// Its answer as it is on the wire, head and all.
    async fn on_the_wire(&self, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let head = format!(
            "POST /send-message HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut wire = Vec::new();
        while !wire.ends_with(b"0\r\n\r\n") && stream.read_buf(&mut wire).await.is_ok_and(|read| read > 0) {}
        wire
    }

    /// The proxy before it, reached by way of a chopper.
    async fn through(&self, stack: &Testbed, path: &str, body: &Value, way: Way) -> Response<Bytes> {
        let chopper = Chopper::start(self.port, way).await;
        let url = format!("http://{}{path}", chopper.address);
        let secrets = json!({"agent_chat": {"clients": [{"id": "web", "token": TOKEN, "agents": ["*"]}],
                             "agents": {"a": {"url": url, "dialect": self.dialect}}}});
        // The deployed binary where CI has built it, else the one that `cargo test` builds.
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

/// Where each event ends: these servers end lines with LF alone.
fn ends(bytes: &[u8]) -> Vec<usize> {
    bytes.windows(2).enumerate().filter(|(_, two)| two == b"\n\n").map(|(at, _)| at + 2).collect()
}

/// Holds what came through to what the server had said by then.
fn hold(what: &str, dialect: &str, said: &[u8], response: &Response<Bytes>) {
    let (status, got) = (response.status().as_u16(), response.body());
    let told = String::from_utf8_lossy(said);
    let events: Vec<&str> = told.split_inclusive("\n\n").filter(|event| event.ends_with("\n\n")).collect();
    let could_not_begin = events.first().is_some_and(|event| event.starts_with("data: {\"error\""));
    if events.is_empty() || could_not_begin {
        assert_eq!(status, 502, "{what}");
        return;
    }
    assert_eq!(status, 200, "{what}");
    let marks: &[&str] = match dialect {
        "ag-kit" => &["data: [DONE]\n\n"],
        _ => &["data: {\"type\":\"RUN_FINISHED\"", "data: {\"type\":\"RUN_ERROR\""],
    };
    let has_ended = events.iter().any(|event| marks.iter().any(|mark| event.starts_with(mark)));
    let whole = events.concat();
    let tail = got.strip_prefix(whole.as_bytes()).unwrap_or_else(|| panic!("{what}: {}", String::from_utf8_lossy(got)));
    if has_ended {
        assert!(tail.is_empty(), "{what}: {}", String::from_utf8_lossy(tail));
    } else {
        let kind = if dialect == "ag-kit" { "error" } else { "RUN_ERROR" };
        let event: Value = serde_json::from_slice(tail.strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!(event["type"], kind, "{what}");
        assert!(!event.to_string().contains("in confidence"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_server_says_comes_through_whatever_pieces_it_comes_in() {
    let stack = stack().await;
    for server in Server::both().await {
        for said in SAID {
            let body = server.body(said);
            let (status, direct) = server.directly("/send-message", &body).await;
            assert_eq!(status, 200);
            for way in [Way::Pieces(usize::MAX), Way::Pieces(1), Way::Pieces(7)] {
                // A byte at a time, the large one would take a minute.
                if said == "large" && way == Way::Pieces(1) {
                    continue;
                }
                let what = format!("{} {said}, {way:?}", server.dialect);
                let response = server.through(&stack, "/send-message", &body, way).await;
                hold(&what, server.dialect, &direct, &response);
                let turn_id = response.headers()["gatehouse-turn-id"].to_str().unwrap();
                let id = gatehouse_edge::chat::event_id(turn_id);
                let turn = stack.store().get(&id, Clock::System.now()).await.unwrap().unwrap();
                let turn: Value = serde_json::from_slice(&turn.event.body).unwrap();
                assert_eq!(turn["answer"].as_str().unwrap().as_bytes(), direct, "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_that_is_cut_off_anywhere_ends_in_one_error_event() {
    let stack = stack().await;
    let mut cuts = 0;
    for server in Server::both().await {
        for said in SAID {
            let body = server.body(said);
            let wire = server.on_the_wire(&body).await;
            let head = wire.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let after = ends(&wire).into_iter().filter(|end| *end > head);
            for cut in [head].into_iter().chain(after.flat_map(|end| [end - 3, end - 1, end])) {
                let response = server.through(&stack, "/send-message", &body, Way::CutAfter(cut)).await;
                // What is on the wire is the events, and chunks' lengths between them.
                let start = wire.windows(6).position(|six| six == b"data: ").unwrap_or(cut).min(cut);
                let passed = wire.get(start..cut).unwrap();
                let said_by_then: Vec<u8> = passed
                    .split_inclusive(|byte| *byte == b'\n')
                    .filter(|line| !line.ends_with(b"\r\n"))
                    .flatten()
                    .copied()
                    .collect();
                hold(&format!("{} {said}, cut after {cut}", server.dialect), server.dialect, &said_by_then, &response);
                cuts += 1;
            }
        }
    }
    assert!(cuts > 100, "{cuts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_that_cannot_begin_is_502_and_its_words_are_not_shown() {
    let stack = stack().await;
    for server in Server::both().await {
        let response =
            server.through(&stack, "/broken/send-message", &server.body("words"), Way::Pieces(usize::MAX)).await;
        assert_eq!(response.status(), 502, "{}", server.dialect);
        assert!(!String::from_utf8_lossy(response.body()).contains("in confidence"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_server_takes_is_taken_and_what_it_refuses_is_refused() {
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
    let (mut taken, mut differ) = (0, Vec::new());
    for (server, body) in cases {
        let (direct, _) = server.directly("/send-message", &body).await;
        let through = server.through(&stack, "/send-message", &body, Way::Pieces(usize::MAX)).await.status().as_u16();
        taken += usize::from(through == 200);
        if (direct == 200) != (through == 200) || (direct != 200 && ![400, 422].contains(&through)) {
            differ.push(format!("{} {body}: {direct} directly, {through} through", server.dialect));
        }
    }
    assert!(differ.is_empty() && taken > 10, "{}", differ.join("\n"));
}
