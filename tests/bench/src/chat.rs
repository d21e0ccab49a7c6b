//! Chats: what the proxy adds, beside a direct connection and nginx as a plain reverse proxy.
//!
//! Agent and client are the bench's, on one processor; nginx and the function run on the other.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::Error;
use gatehouse_local::agent::{Agent, Answer, Heard, Piece as Said};
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
/// Events of a stream whose delay is measured, and what lies between them.
const EVENTS: usize = 300;
const PAUSE: Duration = Duration::from_millis(4);
/// Events of a stream that goes as fast as it can: many small ones, or fewer large ones. All together, in bytes.
const BULK: usize = 32 * 1024 * 1024;
const SMALL: usize = 100;
const LARGE: usize = 16 * 1024;
/// What lies between large events at the 2 MB/s that Lambda streams at most, behind the first 6 MB.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html>
const PACE: Duration = Duration::from_millis(8);
const PACED_EVENTS: usize = 250;
/// How many streams are open at once.
const OPEN: [usize; 3] = [1, 100, 1_000];

/// An agent that says what the message asks for.
#[derive(Debug)]
pub(crate) struct Chat {
    agent: Agent,
    zero: Instant,
}

impl Chat {
    /// Starts the agent.
    ///
    /// # Errors
    /// When there is no port for it.
    pub(crate) async fn start() -> Result<Chat, Error> {
        let zero = Instant::now();
        let agent = Agent::start(move |heard| Some(answer(heard, zero))).await?;
        Ok(Chat { agent, zero })
    }

    /// A secrets document, with the agent in it.
    ///
    /// # Errors
    /// When that is no document.
    pub(crate) fn secrets(&self, document: &str) -> Result<String, Error> {
        let mut document: Value = serde_json::from_str(document)?;
        document["agent_chat"]["agents"] =
            json!({"kit": {"url": format!("{}/x", self.agent.url), "dialect": "ag-kit"}});
        Ok(document.to_string())
    }

    /// A short turn, as Lambda hands it out.
    #[must_use]
    pub(crate) fn event(&self) -> Bytes {
        invocation(&delivery("first"))
    }
}

fn delivery(wish: &str) -> Delivery {
    let headers = [("authorization", format!("Bearer {TOKEN}")), ("content-type", "application/json".to_owned())];
    Delivery {
        function: "agent-chat".to_owned(),
        path: "v1/aibot/bots/kit/send-message".to_owned(),
        method: "POST".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body: Bytes::from(json!({"messages": [{"role": "user", "content": wish}]}).to_string()),
    }
}

fn event(text: &str) -> Bytes {
    Bytes::from(format!("data: {{\"type\":\"text\",\"content\":\"{text}\"}}\n\n"))
}

fn answer(heard: &Heard, zero: Instant) -> Answer {
    let wish = String::from_utf8_lossy(&heard.body);
    let wishes = |wish_for: &str| wish.contains(wish_for);
    let done = Said::Says(Bytes::from_static(DONE));
    let bulk = |bytes: usize| {
        let event = event(&"x".repeat(bytes));
        let count = BULK / 4 / event.len();
        Answer::saying(std::iter::repeat_n(Said::Says(event), count).chain([done.clone()]))
    };
    let (sender, answer) = Answer::stream();
    match () {
        () if wishes("paced") => drop(tokio::spawn(async move {
            let (event, mut next) = (event(&"x".repeat(LARGE)), Instant::now());
            for _ in 0..PACED_EVENTS {
                next += PACE;
                tokio::time::sleep_until(next).await;
                let _ = sender.send(Said::Says(event.clone()));
            }
            let _ = sender.send(done);
        })),
        () if wishes("small") => return bulk(SMALL),
        () if wishes("large") => return bulk(LARGE),
        () if wishes("slowly") => drop(tokio::spawn(async move {
            let mut pace = tokio::time::interval(PAUSE);
            for _ in 0..EVENTS {
                pace.tick().await;
                let _ = sender.send(Said::Says(event(&zero.elapsed().as_nanos().to_string())));
            }
            let _ = sender.send(done);
        })),
        // It says a word, and no more.
        () if wishes("open") => drop(tokio::spawn(async move {
            let _ = sender.send(Said::Says(event("Hi")));
            sender.closed().await;
        })),
        () => return Answer::saying([Said::Says(event("Hi")), done]),
    }
    answer
}

/// A way to the agent.
enum Way {
    Http(Client, Option<Process>),
    Function(Host, Process),
}

impl Way {
    /// Asks for something: when, and what comes.
    async fn ask(&self, wish: &str) -> Result<(Instant, mpsc::UnboundedReceiver<Piece>), Error> {
        match self {
            Way::Http(client, _) => {
                let (client, delivery) = (client.clone(), delivery(wish));
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
            Way::Function(host, _) => {
                let answering = host.open(invocation(&delivery(wish)), wish == "open").await?;
                let (sent, mut raw) = (answering.sent, answering.pieces);
                let (sender, pieces) = mpsc::unbounded_channel();
                tokio::spawn(async move {
                    let (mut head, mut is_behind_head) = (Vec::new(), false);
                    while let Some((at, piece)) = raw.recv().await {
                        let piece = if is_behind_head {
                            piece
                        } else {
                            head.extend_from_slice(&piece);
                            // The head ends with eight zeros.
                            let Some(end) = head.windows(8).position(|bytes| bytes == [0; 8]) else { continue };
                            is_behind_head = true;
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
            Way::Http(_, None) => Ok(0.0),
            Way::Http(_, Some(process)) | Way::Function(_, process) => Ok(process.memory()?.1),
        }
    }
}

/// # Errors
/// When a way does not lead to the agent.
pub(crate) async fn run(bench: &Bench) -> Result<Report, Error> {
    let mut ways = vec![("direct", Way::Http(Client::new(&bench.chat.agent.url)?, None))];
    match nginx(bench).await {
        Ok(way) => ways.push(("nginx", way)),
        Err(error) => println!("nginx is not measured: {error}"),
    }
    let contender = gatehouse("agent-chat", "agent-chat", None, &bench.cloud)?;
    let host = Host::start().await?;
    let process = Process::start(&contender.program, &host, WHOLE_CPU_MB, &bench.log)?;
    host.ready().await?;
    ways.push(("agent-chat", Way::Function(host, process)));

    let first = first_event(bench, &ways).await?;
    let each = each_event(bench, &ways).await?;
    let small = throughput(&ways, "small", bench.runs(9)).await?;
    let large = throughput(&ways, "large", bench.runs(9)).await?;
    let paced = throughput(&ways, "paced", bench.runs(3)).await?;
    let memory = memory(&ways).await?;

    let mut table = Table::new(
        "A chat's stream",
        "Least · median · 99th percentile. First event: ms from the request sent to the first event received. Each event: ms from said to heard, one every \
         4 ms. Throughput: MB/s of events as fast as they can be read, to the last one but the end mark. Memory: kB resident by open stream.",
        &[
            "",
            "first event, ms",
            "each event, ms",
            "events of 100 B, MB/s",
            "events of 16 KB, MB/s",
            "the same at Lambda's pace",
            "kB of 1 stream",
            "of 100, each",
            "of 1,000",
        ],
    );
    for (n, (name, _)) in ways.iter().enumerate() {
        let mut row = vec![
            (*name).into(),
            first[n].cell(),
            each[n].cell(),
            small[n].median().into(),
            large[n].median().into(),
            paced[n].median().into(),
        ];
        // A direct connection is in no process but the bench's.
        row.extend(memory[n].map(|kb| if n == 0 { Cell::None } else { kb.into() }));
        table.rows.push(row);
    }
    let last = ways.len() - 1;
    let mut targets = vec![
        Target::most("chat: ms added to the first event", first[last].median() - first[0].median(), 1.0),
        Target::most("chat: ms added to each event", each[last].median() - each[0].median(), 0.3),
        Target::least("chat: throughput at Lambda's pace beside direct", paced[last].median() / paced[0].median(), 0.9),
        Target::least("chat: throughput of 16 KB events beside direct", large[last].median() / large[0].median(), 0.9),
        Target::least("chat: throughput of 100 B events beside direct", small[last].median() / small[0].median(), 0.9),
        Target::most("chat: kB of an idle stream, of 1,000", memory[last][2], 64.0),
    ];
    if last == 2 {
        let beside = |of: &[Times]| of[2].median() / of[1].median();
        targets.push(Target::least("chat: throughput of 16 KB events beside nginx", beside(&large), 0.9));
        targets.push(Target::least("chat: throughput of 100 B events beside nginx", beside(&small), 0.9));
    }
    for (_, way) in ways {
        if let Way::Function(_, process) | Way::Http(_, Some(process)) = way {
            process.stop().await;
        }
    }
    Ok(Report { tables: vec![table], targets })
}

fn per_way(ways: &[(&str, Way)]) -> Vec<Times> {
    vec![Times::default(); ways.len()]
}

async fn first_event(bench: &Bench, ways: &[(&str, Way)]) -> Result<Vec<Times>, Error> {
    let mut all = per_way(ways);
    for round in 0..bench.runs(300) {
        for ((_, way), times) in ways.iter().zip(&mut all) {
            let (sent, mut pieces) = way.ask("first").await?;
            let (at, _) = pieces.recv().await.ok_or("an answer without an event")?;
            while pieces.recv().await.is_some() {}
            if round >= 5 {
                times.add(at - sent);
            }
        }
    }
    Ok(all)
}

async fn each_event(bench: &Bench, ways: &[(&str, Way)]) -> Result<Vec<Times>, Error> {
    let mut all = per_way(ways);
    for _ in 0..bench.runs(4) {
        for ((_, way), times) in ways.iter().zip(&mut all) {
            let (_, mut pieces) = way.ask("slowly").await?;
            while let Some((at, piece)) = pieces.recv().await {
                // When it was said, by what it says.
                let text = String::from_utf8_lossy(&piece);
                let said = text.split('"').filter_map(|word| word.parse::<u64>().ok()).map(Duration::from_nanos);
                said.for_each(|said| times.add(at.saturating_duration_since(bench.chat.zero + said)));
            }
        }
    }
    Ok(all)
}

async fn throughput(ways: &[(&str, Way)], wish: &str, runs: usize) -> Result<Vec<Times>, Error> {
    let mut all = per_way(ways);
    for _ in 0..runs {
        for ((_, way), times) in ways.iter().zip(&mut all) {
            let (_, mut pieces) = way.ask(wish).await?;
            let (mut bytes, mut began, mut ended) = (0, None, Instant::now());
            while let Some((at, piece)) = pieces.recv().await {
                began.get_or_insert(at);
                bytes += piece.len();
                // The end mark waits for the record.
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

/// kB by open stream, by way and number of streams.
async fn memory(ways: &[(&str, Way)]) -> Result<Vec<[f64; OPEN.len()]>, Error> {
    let mut all = Vec::new();
    for (_, way) in ways {
        let (mut kept, before, mut by_count) = (Vec::new(), way.memory()?, [0.0; OPEN.len()]);
        for (&count, kb) in OPEN.iter().zip(&mut by_count) {
            while kept.len() < count {
                let (_, mut pieces) = way.ask("open").await?;
                pieces.recv().await.ok_or("an answer without an event")?;
                kept.push(pieces);
            }
            *kb = (way.memory()? - before) * 1024.0 / count as f64;
        }
        all.push(by_count);
    }
    Ok(all)
}

/// nginx as its documentation has it for event streams: HTTP/1.1 to the agent, connections kept, nothing buffered.
async fn nginx(bench: &Bench) -> Result<Way, Error> {
    let executable = install_nginx()?;
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let folder = bench.folder.path();
    let agent = bench.chat.agent.url.trim_start_matches("http://");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/nginx-{name};", folder.display()))
        .join("\n  ");
    let configuration = format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\nerror_log {0}/nginx.log;\npid {0}/nginx.pid;\nevents {{ worker_connections 8192; }}\nhttp {{\n  \
         access_log off;\n  {temporary}\n  upstream agent {{ server {agent}; keepalive 64; }}\n  server {{\n    listen 127.0.0.1:{port};\n    location / {{\n      \
         proxy_pass http://agent;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_buffering off;\n      proxy_read_timeout 300s;\n    \
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
    Ok(Way::Http(Client::new(&format!("http://127.0.0.1:{port}/x"))?, Some(process)))
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
            return Err("it is not installed, and could not be".into());
        }
    }
    found().ok_or_else(|| "it was installed, but is not where it should be".into())
}
