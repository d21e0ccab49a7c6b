//! Measures chats through agent-chat, compared with a direct connection and with nginx as a plain reverse proxy.
//!
//! Agent and client run in the bench on one processor, nginx and the function on the other.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::Error;
use gatehouse_local::agent::{Agent, Answer, Piece as AgentPiece, ReceivedRequest};
use gatehouse_local::delivery::{Client, Delivery};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Bench;
use crate::contender::gatehouse;
use crate::event::invocation;
use crate::host::{Host, Piece};
use crate::process::{Process, Program, WHOLE_CPU_MB};
use crate::report::{Cell, Report, Table, Target, Times};
use tokio::time::Instant;

const TOKEN: &str = "a-token-of-the-bench-for-chats";
const DONE: &[u8] = b"data: [DONE]\n\n";
/// Number of events in a stream whose delay is measured, and the pause between them.
const EVENTS: usize = 300;
const PAUSE: Duration = Duration::from_millis(4);
/// Bytes of a stream without pauses, and of one event in it: many small events or fewer large ones.
const BULK: usize = 8 * 1024 * 1024;
const SMALL: usize = 100;
const LARGE: usize = 16 * 1024;
/// The pause between large events at 2 MB/s, Lambda's limit for streams after their first 6 MB.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html>
const PACE: Duration = Duration::from_millis(8);
const PACED_EVENTS: usize = 250;
/// Numbers of open streams whose memory is measured.
const OPEN: [usize; 3] = [1, 100, 1_000];

/// An agent whose response depends on the user message.
#[derive(Debug)]
pub(crate) struct Chat {
    agent: Agent,
    /// The time to which the times in events are relative.
    zero: Instant,
}

impl Chat {
    /// Starts the agent.
    ///
    /// # Errors
    /// Fails if there is no free port.
    pub(crate) async fn start() -> Result<Chat, Error> {
        let zero = Instant::now();
        let agent = Agent::start(move |request| Some(answer(request, zero))).await?;
        Ok(Chat { agent, zero })
    }

    /// Adds the agent to a secrets document.
    ///
    /// # Errors
    /// Fails if `document` is not JSON.
    pub(crate) fn secrets(&self, document: &str) -> Result<String, Error> {
        let mut document: Value = serde_json::from_str(document)?;
        document["agent_chat"]["agents"] =
            json!({"kit": {"url": format!("{}/x", self.agent.url), "dialect": "ag-kit"}});
        Ok(document.to_string())
    }

    /// A short turn as a Lambda event.
    #[must_use]
    pub(crate) fn event(&self) -> Bytes {
        invocation(&delivery("first"))
    }
}

fn delivery(prompt: &str) -> Delivery {
    let headers = [("authorization", format!("Bearer {TOKEN}")), ("content-type", "application/json".to_owned())];
    Delivery {
        function: "agent-chat".to_owned(),
        path: "v1/aibot/bots/kit/send-message".to_owned(),
        method: "POST".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body: Bytes::from(json!({"messages": [{"role": "user", "content": prompt}]}).to_string()),
    }
}

fn event(text: &str) -> Bytes {
    Bytes::from(format!("data: {{\"type\":\"text\",\"content\":\"{text}\"}}\n\n"))
}

fn answer(request: &ReceivedRequest, zero: Instant) -> Answer {
    let body = String::from_utf8_lossy(&request.body);
    let is_prompt = |prompt: &str| body.contains(prompt);
    let done = AgentPiece::Bytes(Bytes::from_static(DONE));
    let bulk = |bytes: usize| {
        let event = event(&"x".repeat(bytes));
        let count = BULK / event.len();
        Answer::with_pieces(std::iter::repeat_n(AgentPiece::Bytes(event), count).chain([done.clone()]))
    };
    let (sender, answer) = Answer::stream();
    if is_prompt("paced") {
        drop(tokio::spawn(async move {
            let (event, mut next) = (event(&"x".repeat(LARGE)), Instant::now());
            for _ in 0..PACED_EVENTS {
                next += PACE;
                tokio::time::sleep_until(next).await;
                let _ = sender.send(AgentPiece::Bytes(event.clone()));
            }
            let _ = sender.send(done);
        }));
    } else if is_prompt("small") {
        return bulk(SMALL);
    } else if is_prompt("large") {
        return bulk(LARGE);
    } else if is_prompt("slowly") {
        drop(tokio::spawn(async move {
            let mut pace = tokio::time::interval(PAUSE);
            for _ in 0..EVENTS {
                pace.tick().await;
                let _ = sender.send(AgentPiece::Bytes(event(&zero.elapsed().as_nanos().to_string())));
            }
            let _ = sender.send(done);
        }));
    } else if is_prompt("open") {
        // The stream stays open after its first event.
        drop(tokio::spawn(async move {
            let _ = sender.send(AgentPiece::Bytes(event("Hi")));
            sender.closed().await;
        }));
    } else {
        return Answer::with_pieces([AgentPiece::Bytes(event("Hi")), done]);
    }
    answer
}

/// A route from the client to the agent.
enum Route {
    Http(Client, Option<Process>),
    Function(Host, Process),
}

impl Route {
    /// Sends a message. Returns when it was sent, and the pieces of the response.
    async fn send(&self, prompt: &str) -> Result<(Instant, mpsc::UnboundedReceiver<Piece>), Error> {
        match self {
            Route::Http(client, _) => {
                let (client, delivery) = (client.clone(), delivery(prompt));
                let (sender, pieces) = mpsc::unbounded_channel();
                let sent = Instant::now();
                let mut body = client.open(&delivery).await?.into_body();
                tokio::spawn(async move {
                    while let Some(Ok(frame)) = body.frame().await {
                        if let Ok(data) = frame.into_data()
                            && sender.send((Instant::now(), data)).is_err()
                        {
                            return;
                        }
                    }
                });
                Ok((sent, pieces))
            }
            Route::Function(host, _) => {
                let response = host.open(invocation(&delivery(prompt)), prompt == "open").await?;
                let (sent, mut raw) = (response.sent, response.pieces);
                let (sender, pieces) = mpsc::unbounded_channel();
                tokio::spawn(async move {
                    let (mut head, mut head_ended) = (Vec::new(), false);
                    while let Some((at, piece)) = raw.recv().await {
                        let piece = if head_ended {
                            piece
                        } else {
                            head.extend_from_slice(&piece);
                            // Eight zero bytes end the head.
                            let Some(end) = head.windows(8).position(|bytes| bytes == [0; 8]) else { continue };
                            head_ended = true;
                            Bytes::from(head.split_off(end + 8))
                        };
                        if !piece.is_empty() && sender.send((at, piece)).is_err() {
                            return;
                        }
                    }
                });
                Ok((sent, pieces))
            }
        }
    }

    fn memory(&self) -> Result<f64, Error> {
        match self {
            Route::Http(_, None) => Ok(0.0),
            Route::Http(_, Some(process)) | Route::Function(_, process) => Ok(process.memory()?.1),
        }
    }
}

/// Measures all routes.
///
/// # Errors
/// Fails if the agent cannot be reached by a route.
pub(crate) async fn run(bench: &Bench) -> Result<Report, Error> {
    let mut routes = vec![("direct", Route::Http(Client::new(&bench.chat.agent.url)?, None))];
    match nginx(bench).await {
        Ok(route) => routes.push(("nginx", route)),
        Err(error) => println!("nginx is not measured: {error}"),
    }
    let contender = gatehouse("agent-chat", "agent-chat", None, &bench.cloud)?;
    let host = Host::start().await?;
    let process = Process::start(&contender.program, &host, WHOLE_CPU_MB, &bench.log)?;
    host.ready().await?;
    routes.push(("agent-chat", Route::Function(host, process)));

    let first = first_event(bench, &routes).await?;
    let each = each_event(bench, &routes).await?;
    let small = throughput(&routes, "small", bench.runs(9)).await?;
    let large = throughput(&routes, "large", bench.runs(9)).await?;
    let paced = throughput(&routes, "paced", bench.runs(3)).await?;
    let memory = memory(&routes).await?;

    let mut table = Table::new(
        "A chat's stream",
        "Minimum · median · 99th percentile. First event: ms from sending the request to receiving the first event. \
         Each event: ms from sending to receiving, one every 4 ms. Throughput: MB/s of events that are read as fast as \
         possible, up to the last one before the end mark. Memory: kB resident for each open stream.",
        &[
            "",
            "first event, ms",
            "each event, ms",
            "events of 100 B, MB/s",
            "events of 16 KB, MB/s",
            "16 KB at Lambda's pace, MB/s",
            "kB of 1 stream",
            "of 100, each",
            "of 1,000",
        ],
    );
    for (n, (name, _)) in routes.iter().enumerate() {
        let mut row = vec![
            (*name).into(),
            first[n].cell(),
            each[n].cell(),
            small[n].median().into(),
            large[n].median().into(),
            paced[n].median().into(),
        ];
        // A direct connection needs no other process than the bench.
        row.extend(memory[n].map(|kb| if n == 0 { Cell::None } else { kb.into() }));
        table.rows.push(row);
    }
    let last = routes.len() - 1;
    let mut targets = vec![
        Target::at_most("chat: ms added to the first event", first[last].median() - first[0].median(), 1.0),
        Target::at_most("chat: ms added to each event", each[last].median() - each[0].median(), 0.3),
        Target::at_least(
            "chat: throughput at Lambda's pace relative to direct",
            paced[last].median() / paced[0].median(),
            0.9,
        ),
        Target::at_least(
            "chat: throughput of 16 KB events relative to direct",
            large[last].median() / large[0].median(),
            0.9,
        ),
        Target::at_least(
            "chat: throughput of 100 B events relative to direct",
            small[last].median() / small[0].median(),
            0.9,
        ),
        Target::at_most("chat: kB of an idle stream, of 1,000", memory[last][2], 64.0),
    ];
    if last == 2 {
        let relative_to_nginx = |of: &[Times]| of[2].median() / of[1].median();
        targets.push(Target::at_least(
            "chat: throughput of 16 KB events relative to nginx",
            relative_to_nginx(&large),
            0.9,
        ));
        targets.push(Target::at_least(
            "chat: throughput of 100 B events relative to nginx",
            relative_to_nginx(&small),
            0.9,
        ));
    }
    for (_, route) in routes {
        if let Route::Function(_, process) | Route::Http(_, Some(process)) = route {
            process.stop().await;
        }
    }
    Ok(Report { tables: vec![table], targets })
}

fn per_route(routes: &[(&str, Route)]) -> Vec<Times> {
    vec![Times::default(); routes.len()]
}

async fn first_event(bench: &Bench, routes: &[(&str, Route)]) -> Result<Vec<Times>, Error> {
    let mut all = per_route(routes);
    for round in 0..bench.runs(300) {
        for ((_, route), times) in routes.iter().zip(&mut all) {
            let (sent, mut pieces) = route.send("first").await?;
            let (at, _) = pieces.recv().await.ok_or("an answer without an event")?;
            while pieces.recv().await.is_some() {}
            if round >= 5 {
                times.add(at - sent);
            }
        }
    }
    Ok(all)
}

async fn each_event(bench: &Bench, routes: &[(&str, Route)]) -> Result<Vec<Times>, Error> {
    let mut all = per_route(routes);
    for _ in 0..bench.runs(4) {
        for ((_, route), times) in routes.iter().zip(&mut all) {
            let (_, mut pieces) = route.send("slowly").await?;
            while let Some((at, piece)) = pieces.recv().await {
                // An event contains the time at which the agent sent it.
                let text = String::from_utf8_lossy(&piece);
                let sent = text.split('"').filter_map(|word| word.parse::<u64>().ok()).map(Duration::from_nanos);
                sent.for_each(|sent| times.add(at.saturating_duration_since(bench.chat.zero + sent)));
            }
        }
    }
    Ok(all)
}

async fn throughput(routes: &[(&str, Route)], prompt: &str, runs: usize) -> Result<Vec<Times>, Error> {
    let mut all = per_route(routes);
    for _ in 0..runs {
        for ((_, route), times) in routes.iter().zip(&mut all) {
            let (_, mut pieces) = route.send(prompt).await?;
            let (mut bytes, mut began, mut ended) = (0, None, Instant::now());
            while let Some((at, piece)) = pieces.recv().await {
                began.get_or_insert(at);
                bytes += piece.len();
                // The end mark is sent after the turn is recorded, so it does not count.
                if piece.len() > DONE.len() {
                    ended = at;
                }
            }
            let took = ended - began.ok_or("an answer without an event")?;
            times.push(bytes as f64 / 1e6 / took.as_secs_f64());
        }
    }
    Ok(all)
}

/// Measures the memory of open streams in kB per stream, by route and number of streams.
async fn memory(routes: &[(&str, Route)]) -> Result<Vec<[f64; OPEN.len()]>, Error> {
    let mut all = Vec::new();
    for (_, route) in routes {
        let (mut streams, before, mut by_count) = (Vec::new(), route.memory()?, [0.0; OPEN.len()]);
        for (&count, kb) in OPEN.iter().zip(&mut by_count) {
            while streams.len() < count {
                let (_, mut pieces) = route.send("open").await?;
                pieces.recv().await.ok_or("an answer without an event")?;
                streams.push(pieces);
            }
            *kb = (route.memory()? - before) * 1024.0 / count as f64;
        }
        all.push(by_count);
    }
    Ok(all)
}

/// Starts nginx as its documentation recommends for event streams: HTTP/1.1, keep-alive connections, no buffering.
async fn nginx(bench: &Bench) -> Result<Route, Error> {
    let executable = install_nginx()?;
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let folder = bench.folder.path();
    let agent = bench.chat.agent.url.trim_start_matches("http://");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/nginx-{name};", folder.display()))
        .join("\n  ");
    let configuration = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\nerror_log {0}/nginx.log;\npid {0}/nginx.pid;\n\
         events {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n  {temporary}\n  \
         upstream agent {{ server {agent}; keepalive 64; }}\n  server {{\n    listen 127.0.0.1:{port};\n    \
         location / {{\n      proxy_pass http://agent;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_buffering off;\n      proxy_read_timeout 300s;\n    \
         }}\n  }}\n}}\n",
        folder.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let command = [executable.as_path(), Path::new("-c"), &file].map(|part| part.display().to_string()).to_vec();
    let program = Program { command, folder: None, variables: Vec::new() };
    let process = Process::start(&program, &Host::start().await?, WHOLE_CPU_MB, &bench.log)?;
    let listens = async {
        let mut attempts = tokio::time::interval(Duration::from_millis(10));
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            attempts.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), listens).await.map_err(|_| "nginx does not listen after 10 s")?;
    Ok(Route::Http(Client::new(&format!("http://127.0.0.1:{port}/x"))?, Some(process)))
}

fn install_nginx() -> Result<PathBuf, Error> {
    let found = || {
        ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    for arguments in [vec!["update"], vec!["install", "--yes", "--no-install-recommends", "nginx-light"]] {
        let mut apt = std::process::Command::new("apt-get");
        let status = apt
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err("it is not installed and apt-get could not install it".into());
        }
    }
    found().ok_or_else(|| "it was installed but not found in /usr/sbin, /usr/bin or /usr/local/sbin".into())
}
