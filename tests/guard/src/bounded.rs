//! Cases with expensive inputs for every parser of external input. The cost of a parser must grow at most in proportion
//! to its input. The test `bounded` compares the allocations at two input sizes. `.ci/guard` compares the instructions.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use agent_chat::{KeySetCache, Limits, State, Turns, Upstream};
use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_ag_kit::check::check;
use gatehouse_ag_kit::turn::Turn;
use gatehouse_ag_kit::{AgKit, Dialect};
use gatehouse_agntix::Agntix;
use gatehouse_inbox::store::Record;
use gatehouse_payload::json::Document;
use gatehouse_payload::{Event, EventId, Fingerprint, Flags, Nonce, Subject};
use gatehouse_receiver::secrets::SecretsCache;
use gatehouse_receiver::{Deadline, Redaction};
use gatehouse_runtime::Clock;
use gatehouse_sse::Reader;
use gatehouse_timeline::fold;
use gatehouse_vapi::tool_calls::{ToolCalls, reduced_to};
use gatehouse_vapi::{Envelope, Vapi};
use gatehouse_vendor::{Source, Vendor};
use http::Request;
use http_body_util::BodyExt;

use crate::receiver;

/// A parser with an input.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The parser's name.
    pub parser: &'static str,
    /// The input's name.
    pub input: &'static str,
    /// Makes an input of about this size, in bytes.
    pub make: fn(usize) -> Vec<u8>,
    /// Parses it.
    pub parse: fn(&Bytes),
    /// The sizes that are compared, in bytes.
    pub sizes: (usize, usize),
}

type Input = (&'static str, fn(usize) -> Vec<u8>);
type Parser = (&'static str, fn(&Bytes));

/// Input sizes for parsers that also start a runtime, open a connection or verify a signature.
const SMALL: (usize, usize) = (8 * 1024, 32 * 1024);
/// Input sizes for parsers that only parse.
const LARGE: (usize, usize) = (32 * 1024, 128 * 1024);

/// Every parser with each of its inputs.
#[must_use]
pub fn cases() -> Vec<Case> {
    let with = |parsers: &[Parser], inputs: &[Input], sizes| -> Vec<Case> {
        let pair = |&(parser, parse): &Parser| {
            inputs.iter().map(move |&(input, make)| Case { parser, input, make, parse, sizes }).collect::<Vec<_>>()
        };
        parsers.iter().flat_map(pair).collect()
    };
    [
        with(&STREAM_PARSERS, &STREAMS, LARGE),
        with(&PROXIES, &STREAMS, SMALL),
        with(&BODY_PARSERS, &BODIES, SMALL),
        with(&HEADER_PARSERS, &HEADERS, SMALL),
        with(&EVENT_PARSERS, &EVENTS, LARGE),
    ]
    .concat()
}

// === streams of agents ===

const STREAM_PARSERS: [Parser; 5] = [
    ("SSE reader", |stream| read_stream(stream, 8 * 1024, |_| {})),
    ("SSE reader, byte by byte", |stream| read_stream(stream, 1, |_| {})),
    ("turn of AG-Kit", |stream| fold_turn(stream, Turn::new(Dialect::AgKit))),
    ("turn of AG-UI", |stream| fold_turn(stream, Turn::new(Dialect::AgUi))),
    ("watched turn of AG-UI", |stream| fold_turn(stream, Turn::watched(Dialect::AgUi))),
];

const PROXIES: [Parser; 3] = [
    ("proxy", |stream| proxy(stream, "ag-ui", "text/event-stream", UI)),
    ("proxy, AG-Kit", |stream| proxy(stream, "ag-kit", "text/event-stream", KIT)),
    ("proxy, as one object", |stream| proxy(stream, "ag-ui", "application/json", UI)),
];

const KIT: &str = r#"{"conversationId":"c","messages":[{"role":"user","content":"x"}]}"#;
const UI: &str = r#"{"threadId":"c","messages":[{"id":"m","role":"user","content":"x"}]}"#;

const STREAMS: [Input; 19] = [
    ("line ends", |size| repeat(size, |_| "\n".to_owned())),
    ("CR and LF", |size| repeat(size, |_| "\r\n".to_owned())),
    ("comments", |size| repeat(size, |_| ":\n\n".to_owned())),
    ("a long id before every event", |size| {
        let mut stream = format!("id: {}\n", "x".repeat(size / 2)).into_bytes();
        stream.extend(repeat(size / 2, |_| "data: 1\n\n".to_owned()));
        stream
    }),
    ("an event of many lines", |size| repeat(size, |_| "data\n".to_owned())),
    ("not UTF-8", |size| repeat(size, |_| "data: ".to_owned()).into_iter().map(|byte| byte | 0x80).collect()),
    ("messages", |size| events(size, |n| format!(r#"{{"type":"TEXT_MESSAGE_START","messageId":"{n}"}}"#))),
    ("pieces of two messages", |size| {
        events(size, |n| format!(r#"{{"type":"TEXT_MESSAGE_CONTENT","messageId":"{}","delta":"x"}}"#, n % 2))
    }),
    ("calls of one id", |size| {
        events(size, |n| match n % 3 {
            0 => r#"{"type":"TOOL_CALL_START","toolCallId":"c","toolCallName":"f"}"#.to_owned(),
            1 => r#"{"type":"TOOL_CALL_ARGS","toolCallId":"c","delta":"{}"}"#.to_owned(),
            _ => r#"{"type":"TOOL_CALL_END","toolCallId":"c"}"#.to_owned(),
        })
    }),
    ("results without a call", |size| {
        events(size, |n| format!(r#"{{"type":"TOOL_CALL_RESULT","toolCallId":"{}","content":"x"}}"#, n % 7))
    }),
    ("calls in chunks", |size| {
        events(size, |n| format!(r#"{{"type":"TOOL_CALL_CHUNK","toolCallId":"{}","toolCallName":"f"}}"#, n % 5))
    }),
    ("empty snapshots after messages", |size| {
        let mut stream =
            events(size / 2, |n| format!(r#"{{"type":"TEXT_MESSAGE_CONTENT","messageId":"{n}","delta":"x"}}"#));
        stream.extend(events(size / 2, |_| r#"{"type":"MESSAGES_SNAPSHOT","messages":[]}"#.to_owned()));
        stream
    }),
    ("snapshots of one message", |size| {
        events(size, |n| {
            format!(r#"{{"type":"MESSAGES_SNAPSHOT","messages":[{{"id":"{n}","role":"assistant","content":"x"}}]}}"#)
        })
    }),
    ("a snapshot of empty messages", |size| {
        let messages = array(size, "{\"type\":\"MESSAGES_SNAPSHOT\",\"messages\":", |_| "{}".to_owned());
        [b"data: ", messages.as_slice(), b"\n\n"].concat()
    }),
    ("a run begins with a long history", |size| {
        let start = array(size, "{\"input\":{\"messages\":", |_| "{\"role\":\"user\"}".to_owned());
        [b"data: {\"type\":\"RUN_STARTED\",\"x\":", start.as_slice(), b"}}\n\n"].concat()
    }),
    ("repeated interrupts", |size| {
        events(size, |n| match n % 2 {
            0 => format!(r#"{{"type":"CUSTOM","name":"on_interrupt","value":{{"id":"{n}"}}}}"#),
            _ => format!(r#"{{"type":"RUN_FINISHED","outcome":{{"type":"interrupt","interrupts":[{{"id":"{n}"}}]}}}}"#),
        })
    }),
    ("runs", |size| {
        events(size, |n| format!(r#"{{"type":"{}"}}"#, if n % 2 == 0 { "RUN_STARTED" } else { "RUN_FINISHED" }))
    }),
    ("text of AG-Kit between calls", |size| {
        events(size, |n| match n % 2 {
            0 => r#"{"type":"text","content":"x"}"#.to_owned(),
            _ => r#"{"type":"tool-call-start","toolCallId":"c","toolCallName":"f"}"#.to_owned(),
        })
    }),
    ("a deep event", |size| format!("data: {{\"type\":{}\n\n", "[".repeat(size)).into_bytes()),
];

/// Repeats `piece` until the text has `size` bytes.
fn repeat(size: usize, piece: impl Fn(usize) -> String) -> Vec<u8> {
    let mut stream = String::with_capacity(size + 200);
    for n in 0.. {
        if stream.len() >= size {
            break;
        }
        stream.push_str(&piece(n));
    }
    stream.into_bytes()
}

fn events(size: usize, event: impl Fn(usize) -> String) -> Vec<u8> {
    repeat(size, |n| format!("data: {}\n\n", event(n)))
}

fn read_stream(stream: &Bytes, chunk: usize, mut take: impl FnMut(&str)) {
    let mut reader = Reader::new(1 << 20);
    for at in (0..stream.len()).step_by(chunk) {
        reader.feed(stream.slice(at..stream.len().min(at + chunk)));
        while let Ok(Some(block)) = reader.next_block() {
            if let Some(event) = block.event {
                take(&event.data);
            }
        }
    }
    reader.finish();
}

fn fold_turn(stream: &Bytes, mut turn: Turn) {
    read_stream(stream, 8 * 1024, |data| {
        turn.take(data);
    });
    let _ = turn.content();
}

fn proxy(stream: &Bytes, dialect: &str, accept: &'static str, body: &'static str) {
    with_agent(stream, dialect, |state| async move {
        let request = chat_request().header("accept", accept).body(Bytes::from(body))?;
        send(request, &state).await
    });
}

// === bodies of clients and vendors ===

const BODY_PARSERS: [Parser; 10] = [
    ("document, fingerprint, redaction", |body| {
        if let Ok(document) = Document::read(body) {
            let _ = Fingerprint::of(document.text());
        }
        let _ = Redaction::default().apply(body);
    }),
    ("request of AG-Kit", |body| check_request(Dialect::AgKit, body)),
    ("request of AG-UI", |body| check_request(Dialect::AgUi, body)),
    ("chat request", |body| {
        let body = body.clone();
        with_agent(&Bytes::from_static(b"data: [DONE]\n\n"), "ag-kit", |state| async move {
            send(chat_request().body(body)?, &state).await
        });
    }),
    ("tool calls for one of several services", |body| {
        let calls_of = |document: Document<'_>| ToolCalls::of(Envelope::of(&document).text()).calls;
        let calls = Document::read(body).map(calls_of).unwrap_or_default();
        let calls: Vec<(String, String)> = calls.into_iter().step_by(2).map(|call| (call.id, call.name)).collect();
        let _ = reduced_to(body, &calls);
    }),
    ("Vapi server message", |body| receive(Vapi::SERVER, body)),
    ("Vapi client message", |body| receive(Vapi::CLIENT, body)),
    ("Ada delivery", |body| receive(Ada, body)),
    ("agntix delivery", |body| receive(Agntix, body)),
    ("unsigned Ada delivery", |body| {
        let _ = runtime().block_on(async {
            let request = Request::post("/").header("content-type", "application/json").body(body.clone())?;
            receiver::receive(&receiver::receiver(Ada)?, request).await
        });
    }),
];

const BODIES: [Input; 9] = [
    ("white space", |size| vec![b' '; size]),
    ("deep nesting", |size| format!("{{\"a\":{}{}}}", "[".repeat(size / 2), "]".repeat(size / 2)).into_bytes()),
    ("members", |size| object(size, |n| format!("\"m{n}\":0"))),
    ("one member name, repeated", |size| object(size, |_| "\"messages\":[]".to_owned())),
    ("elements", |size| array(size, "{\"messages\":", |_| "{\"role\":\"user\",\"content\":\"x\"}".to_owned())),
    ("tool calls", |size| {
        let call = |n| {
            format!("{{\"id\":\"{n}\",\"type\":\"function\",\"function\":{{\"name\":\"f\",\"arguments\":\"{{}}\"}}}}")
        };
        let calls =
            array(size, "{\"message\":{\"type\":\"tool-calls\",\"call\":{\"id\":\"c\"},\"toolCallList\":", call);
        [calls, b"}".to_vec()].concat()
    }),
    ("escapes", |size| format!("{{\"a\":\"{}\"}}", "\\u00e9".repeat(size / 6)).into_bytes()),
    ("quotes in a string", |size| format!("{{\"a\":\"{}\"}}", "\\\"{".repeat(size / 3)).into_bytes()),
    ("credentials", |size| object(size, |n| format!("\"token{n}\":\"eyJhbGciOiJIUzI1NiJ9.eyJ9.x\""))),
];

fn object(size: usize, member: impl Fn(usize) -> String) -> Vec<u8> {
    join(size, "{", "}", member)
}

fn array(size: usize, before: &str, element: impl Fn(usize) -> String) -> Vec<u8> {
    join(size, &format!("{before}["), "]}", element)
}

/// Joins `before`, as many comma-separated parts as `size` needs, and `after`.
fn join(size: usize, before: &str, after: &str, part: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = before.to_owned();
    for n in 0.. {
        if text.len() >= size {
            break;
        }
        let _ = write!(text, "{}{}", if n == 0 { "" } else { "," }, part(n));
    }
    text.push_str(after);
    text.into_bytes()
}

fn check_request(dialect: Dialect, body: &Bytes) {
    if let Ok(document) = Document::read(body) {
        let _ = check(dialect, document.text());
    }
}

fn receive<V: Vendor>(vendor: V, body: &Bytes) {
    // Some bodies are refused.
    let _ = runtime().block_on(async {
        let request = receiver::request(&vendor, body)?;
        receiver::receive(&receiver::receiver(vendor)?, request).await
    });
}

// === headers of clients ===

const HEADER_PARSERS: [Parser; 4] = [
    ("Accept", |value| with_header("accept", value)),
    ("Authorization", |value| with_header("authorization", value)),
    ("Idempotency-Key", |value| with_header("idempotency-key", value)),
    ("X-Request-Id", |value| with_header("x-request-id", value)),
];

const HEADERS: [Input; 4] = [
    ("commas", |size| vec![b','; size]),
    ("media ranges", |size| repeat(size, |n| format!("application/x{n};q=0.5,"))),
    ("quotes and semicolons", |size| repeat(size, |_| "\";".to_owned())),
    ("parts of a token", |size| format!("Bearer {}", "eyJ9.".repeat(size / 5)).into_bytes()),
];

fn with_header(name: &'static str, value: &Bytes) {
    let value = value.clone();
    with_agent(&Bytes::from_static(b"data: [DONE]\n\n"), "ag-kit", |state| async move {
        let mut request = chat_request().body(Bytes::from_static(KIT.as_bytes()))?;
        request.headers_mut().insert(name, http::HeaderValue::from_maybe_shared(value)?);
        send(request, &state).await
    });
}

// === events of one subject ===

const EVENT_PARSERS: [Parser; 2] = [
    ("state of a call", |lines| fold_events(lines, "vapi", "call")),
    ("state of a conversation", |lines| fold_events(lines, "ada", "conversation")),
];

const EVENTS: [Input; 3] = [
    ("transcripts", |size| {
        repeat(size, |n| {
            format!(
                "{{\"message\":{{\"type\":\"transcript\",\"transcriptType\":\"final\",\"role\":\"user\",\
                 \"transcript\":\"x{n}\"}}}}\n"
            )
        })
    }),
    ("messages", |size| {
        repeat(size, |n| {
            format!(
                "{{\"type\":\"v1.conversation.message\",\"data\":{{\"message_id\":\"{n}\",\
                 \"content\":{{\"type\":\"text\",\"body\":\"x\"}}}}}}\n"
            )
        })
    }),
    ("a report of many messages", |size| {
        let message = |n| format!("{{\"role\":\"user\",\"message\":\"x{n}\"}}");
        let before = "{\"message\":{\"type\":\"end-of-call-report\",\"artifact\":{\"messages\":";
        [array(size, before, message), b"}}".to_vec()].concat()
    }),
];

fn fold_events(lines: &Bytes, vendor: &str, kind: &str) {
    let record = |(n, line): (usize, &[u8])| -> Option<Record> {
        let text = std::str::from_utf8(line).ok()?;
        let now = gatehouse_payload::time::Timestamp::clamped(i64::try_from(n).ok()?);
        let event_type = if vendor == "ada" {
            "v1.conversation.message"
        } else if text.contains("report") {
            "end-of-call-report"
        } else {
            "transcript"
        };
        let event = Event {
            id: EventId::new(&["bounded"], &[&n.to_string()]),
            source: vendor.to_owned(),
            event_type: Some(event_type.to_owned()),
            subject: Some(Subject::new(vendor, kind, "c")),
            occurred_at: now,
            received_at: now,
            fingerprint: Fingerprint::of("{}"),
            nonce: Nonce::from_bytes(&[0; 16])?,
            verified_by: "svix".to_owned(),
            body: Bytes::copy_from_slice(line),
            answer: None,
            asked: None,
            flags: Flags::default(),
            is_one_question: false,
        };
        Some(Record { event, expires_at: i64::MAX, conflict: false })
    };
    let records: Vec<Record> = lines.split(|byte| *byte == b'\n').enumerate().filter_map(record).collect();
    let _ = fold(&records);
}

// === agent-chat in this process with an agent in another thread ===

const TOKEN: &str = "client-token-in-confidence";

fn chat_request() -> http::request::Builder {
    Request::post("/v1/aibot/bots/a/send-message")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
}

async fn send(request: Request<Bytes>, state: &Arc<State>) -> Result<(), crate::Error> {
    let response = agent_chat::handle(request, state, Deadline::within(Duration::from_secs(60))).await;
    let Ok(_) = response.into_body().collect().await;
    state.turns.ended().await;
    Ok(())
}

/// Runs agent-chat with an agent that answers with `stream`. `ask` sends the request.
#[allow(clippy::expect_used, reason = "nothing can be measured if agent-chat does not run")]
fn with_agent<F>(stream: &Bytes, dialect: &str, ask: impl FnOnce(Arc<State>) -> F)
where
    F: Future<Output = Result<(), crate::Error>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stream = stream.clone();
    // If agent-chat rejects the request, it never connects, and this thread waits until the process ends.
    std::thread::spawn(move || listener.accept().map(|(connection, _)| serve_agent(connection, &stream)));
    let request = async {
        let document = serde_json::json!({"agent_chat": {
            "clients": [{"id": "c", "token": TOKEN, "agents": ["*"]}],
            "agents": {"a": {"url": format!("http://{address}/"), "dialect": dialect}}}});
        let limits = Limits::default();
        let state = State {
            inbox: receiver::inbox(),
            secrets: SecretsCache::fixed(AgKit.profile().secrets, &document.to_string(), true, Clock::System)?,
            upstream: Upstream::new(limits.connect)?,
            key_sets: KeySetCache::new(),
            limits,
            turns: Turns::new(),
        };
        ask(Arc::new(state)).await
    };
    runtime().block_on(request).expect("agent-chat answers");
}

fn serve_agent(mut connection: TcpStream, stream: &[u8]) {
    let mut request = [0; 16 * 1024];
    // The request is small and arrives in one read.
    let _ = connection.read(&mut request);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(stream));
}

#[allow(clippy::expect_used, reason = "nothing can be measured without a runtime")]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
