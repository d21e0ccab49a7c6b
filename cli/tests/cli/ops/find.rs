//! Tests of `show`, `search`, `events export`, and the lists of conversations and calls.

use std::process::Stdio;

use gatehouse_agntix::Agntix;
use gatehouse_local::Delivery;
use gatehouse_runtime::Clock;
use gatehouse_vapi::Vapi;
use serde_json::Value;

use super::bed::{Bed, CONVERSATION, MESSAGE, MESSAGE_TEXT, run_command};

const CALL: &str = "2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11";

async fn send(bed: &Bed, delivery: Delivery) -> String {
    let answer = delivery.send(&bed.url).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.event_id().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn show_finds_out_what_an_id_names() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    let report = send(&bed, Delivery::now(&Vapi::SERVER, gatehouse_vapi::samples::END_OF_CALL_REPORT)).await;
    bed.make_dead_letters(&["dead"]).await;
    let (conversation, call) = (CONVERSATION, format!("vapi:call:{CALL}"));
    for (id, kind, member, value) in [
        ("ada:msg_1", "event", "event_id", "ada:msg_1"),
        ("msg_1", "event", "event_id", "ada:msg_1"),
        (&report, "event", "event_id", &report),
        (conversation, "conversation", "subject", conversation),
        ("673da1f0c2b94e5f8a017b11", "conversation", "subject", conversation),
        (CALL, "call", "subject", &call),
        ("ada:dead", "dead letter", "event_id", "ada:dead"),
    ] {
        let shown = bed.run(&["show", id, "--json"]);
        assert_eq!(shown.code, 0, "{id}: {shown:?}");
        let line = shown.line();
        assert_eq!((&line["kind"], &line[member]), (&kind.into(), &value.into()), "{id}: {line}");
        let text = bed.run(&["show", id]).out;
        assert!(text.starts_with("kind") && !text.contains(MESSAGE_TEXT), "{text}");
    }
    let nothing = bed.run(&["show", "msg_2"]);
    assert!(
        nothing.code == 3 && nothing.out.is_empty() && nothing.err.contains("nothing has the id msg_2"),
        "{nothing:?}"
    );
    // The commands of one kind say what another kind of id is.
    let other = bed.run(&["events", "show", conversation]);
    assert!(other.code == 3 && other.err.contains("gatehouse events timeline ada:conversation"), "{other:?}");
    assert_eq!(bed.run(&["events", "timeline", CALL, "--json"]).lines().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subject_with_characters_that_are_escaped_is_found_as_it_is_written() {
    let bed = Bed::start().await;
    bed.send("msg_1", &MESSAGE.replace("673da1f0c2b94e5f8a017b11", "konv-ü/ä 1")).await;
    for command in [&["events", "timeline"][..], &["conversations", "show"], &["show"]] {
        for id in ["ada:conversation:konv-ü/ä 1", "konv-ü/ä 1", "ada:conversation:konv-%C3%BC%2F%C3%A4%201"] {
            let found = bed.run(&[command, &[id, "--json"]].concat());
            assert!(found.code == 0 && found.lines().len() == 1, "{command:?} {id}: {found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_are_listed_by_their_latest_events_with_their_states() {
    let bed = Bed::start().await;
    let of = |id: &str, event_type: &str| {
        format!(r#"{{"type":"{event_type}","timestamp":"2026-11-20T09:00:00Z","data":{{"conversation_id":"{id}"}}}}"#)
    };
    for (n, (id, event_type)) in [
        ("c1", "v1.conversation.created"),
        ("c2", "v1.conversation.created"),
        ("c1", "v1.conversation.message"),
        ("c1", "v1.conversation.ended"),
        ("c3", "v1.conversation.message"),
    ]
    .into_iter()
    .enumerate()
    {
        bed.send(&format!("msg_{n}"), &of(id, event_type)).await;
    }
    send(&bed, Delivery::now(&Vapi::SERVER, gatehouse_vapi::samples::END_OF_CALL_REPORT)).await;
    let rows = |arguments: &[&str]| -> Vec<(String, String, u64)> {
        let row = |line: Value| {
            let text = |name: &str| line[name].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
            (text("subject"), text("state"), line["events"].as_u64().unwrap())
        };
        bed.run(&[arguments, &["--json"]].concat()).lines().into_iter().map(row).collect()
    };
    let row = |id: &str, state: &str, events| (id.to_owned(), state.to_owned(), events);
    let all = [row("c3", "OPEN", 1), row("c1", "CLOSED", 3), row("c2", "OPEN", 1)];
    assert_eq!(rows(&["conversations", "list"]), all);
    assert_eq!(rows(&["conversations", "list", "-n", "2"]), all[..2]);
    assert_eq!(rows(&["conversations", "list", "--open"]), [all[0].clone(), all[2].clone()]);
    assert_eq!(rows(&["calls", "list"]), [row(CALL, "CLOSED", 1)]);
    let more = bed.run(&["conversations", "list", "-n", "1"]);
    assert!(more.err.starts_with("there are more: pass --until 2"), "{more:?}");
    // As the last line says, each page continues the one before.
    let (mut paged, mut until) = (Vec::new(), None::<String>);
    loop {
        let page = [&["conversations", "list", "-n", "1", "--json"][..]].concat();
        let more: Vec<&str> = until.iter().flat_map(|until| ["--until", until.as_str()]).collect();
        let page = bed.run(&[page, more].concat());
        paged.extend(page.lines().iter().map(|line| line["subject"].as_str().unwrap().to_owned()));
        match page.err.split("--until ").nth(1).and_then(|rest| rest.split_whitespace().next()) {
            Some(next) => until = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(paged, ["c3", "c1", "c2"].map(|id| format!("ada:conversation:{id}")));
    let none = bed.run(&["sessions", "list"]);
    assert!(
        none.code == 0 && none.out.is_empty() && none.err.contains("no sessions have events in this time"),
        "{none:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn search_says_what_it_reads_and_where_it_found_the_text() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    let report = gatehouse_vapi::samples::END_OF_CALL_REPORT;
    let report: Value = serde_json::from_str(report).unwrap();
    let number = report["message"]["customer"]["number"].as_str().unwrap_or("+491701234567").to_owned();
    let mut report = report;
    report["message"]["customer"]["number"] = number.clone().into();
    let id = send(&bed, Delivery::now(&Vapi::SERVER, report.to_string())).await;
    // As a person reads it.
    let spaced: String =
        number.chars().enumerate().map(|(n, c)| if n % 3 == 0 { format!(" {c}") } else { c.into() }).collect();
    let found = bed.run(&["search", &spaced, "--json"]);
    let [line] = found.lines().try_into().unwrap();
    assert_eq!(
        (&line["event_id"], &line["where"]),
        (&id.as_str().into(), &"/message/customer/number".into()),
        "{line}"
    );
    assert!(found.err.starts_with("reading the payloads of 2 events\n"), "{}", found.err);
    let found = bed.run(&["search", &MESSAGE_TEXT.to_uppercase()]);
    assert!(found.code == 0 && found.out.contains("ada:msg_1"), "{found:?}");
    assert!(!found.out.contains(MESSAGE_TEXT), "payloads are not printed: {}", found.out);
    let none = bed.run(&["search", "no such text", "--source", "ada"]);
    assert!(none.code == 0 && none.out.is_empty() && none.err.contains("1 event\nnothing found"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_has_decoded_payloads_and_continues_an_interrupted_file() {
    let bed = Bed::start().await;
    let large = MESSAGE.replace(MESSAGE_TEXT, &gatehouse_local::delivery::noise(7, 500_000));
    for (id, body) in [("msg_1", MESSAGE), ("msg_2", &large), ("msg_3", MESSAGE)] {
        assert_eq!(bed.send(id, body).await.outcome(), "recorded");
    }
    let now = Clock::System.now();
    send(&bed, Delivery::of(&Agntix, "msg_4", gatehouse_agntix::samples::SESSION_ENDED, now)).await;
    let all = bed.run(&["events", "export"]).lines();
    assert_eq!(all.len(), 4);
    assert_eq!(all[1]["payload"], serde_json::from_str::<Value>(&large).unwrap(), "a payload in chunks");
    let times: Vec<&str> = all.iter().map(|line| line["received_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let of_type = bed.run(&["events", "export", "--type", "session.*"]).lines();
    assert_eq!(of_type, all[3..]);

    // Killed in the middle of a line.
    let path = bed.directory.path().join("events.jsonl");
    let text = format!("{}\n{}\n{{\"event_id\":\"ada:m", all[0], all[1]);
    std::fs::write(&path, text).unwrap();
    assert_eq!(bed.run(&["events", "export", "--out", "events.jsonl"]).code, 1, "the file exists");
    let resumed = bed.run(&["events", "export", "--out", "events.jsonl", "--resume"]);
    assert!(resumed.code == 0 && resumed.err.contains("2 events exported"), "{resumed:?}");
    let exported = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn body_is_printed_byte_for_byte() {
    let bed = Bed::start().await;
    let odd =
        "{ \"type\":\"v1.conversation.message\",\n \"z\":1,\"a\":[1.50],\t\"data\":{\"conversation_id\":\"\\u00fc\"} }";
    bed.send("msg_1", odd).await;
    assert_eq!(bed.run(&["events", "show", "ada:msg_1", "--body"]).out, odd);
    let none = bed.run(&["events", "show", "ada:msg_2", "--body"]);
    assert!(none.code == 3 && none.out.is_empty() && none.err.contains("no record of ada:msg_2"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_panics_on_a_closed_pipe_or_a_full_disk() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    let commands: [&[&str]; 14] = [
        &["events", "list"],
        &["events", "list", "--json"],
        &["events", "show", "ada:msg_1"],
        &["events", "show", "ada:msg_1", "--body"],
        &["events", "timeline", CONVERSATION],
        &["events", "export"],
        &["conversations", "list"],
        &["show", "msg_1"],
        &["search", MESSAGE_TEXT],
        &["check-release", "--dry-run"],
        &["stats"],
        &["doctor"],
        &["dead-letters", "list"],
        &["endpoints"],
    ];
    for arguments in commands {
        // Nobody reads either of the two.
        let mut child = bed.command(arguments).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        let status = child.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 1)), "{arguments:?} with closed pipes: {status}");
        #[cfg(target_os = "linux")]
        {
            let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
            let mut command = bed.command(arguments);
            command.stdout(full());
            let output = command.output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            // They have nothing to print.
            let is_silent = ["dead-letters", "stats"].contains(&arguments[0]);
            assert!(
                output.status.code() == Some(i32::from(!is_silent)) && !text.contains("panicked"),
                "{arguments:?} on a full disk: {:?} {text}",
                output.status
            );
            bed.command(arguments).stdout(full()).stderr(full()).status().unwrap().code().unwrap();
        }
    }
    let mut demo = std::process::Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    let mut demo = demo.arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(demo.stdout.take());
    let output = demo.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_is_named_by_flag_then_variable_then_file() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    let folder = bed.directory.path();
    std::fs::create_dir(folder.join("inner")).unwrap();
    let run = |arguments: &[&str], stack: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command.args(["events", "list", "--json"]).args(arguments).current_dir(folder.join("inner"));
        command.envs([("AWS_REGION", "eu-north-1"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
        // Nothing listens there.
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env_remove("GATEHOUSE_STACK");
        command.envs(stack.map(|stack| ("GATEHOUSE_STACK", stack)));
        run_command(command)
    };
    std::fs::write(folder.join("gatehouse.toml"), format!("at = \"{}\"\n", bed.url)).unwrap();
    assert_eq!(run(&[], None).lines().len(), 1, "the file in a folder above");
    let of_variable = run(&[], Some("from-variable"));
    assert!(
        of_variable.code == 1 && of_variable.err.contains("the stack from-variable in eu-north-1"),
        "{of_variable:?}"
    );
    let of_flag = run(&["--stack", "from-flag"], Some("from-variable"));
    assert!(of_flag.err.contains("the stack from-flag"), "{of_flag:?}");
    assert_eq!(run(&["--at", &bed.url], Some("from-variable")).lines().len(), 1);
    std::fs::write(folder.join("gatehouse.toml"), "stack = \"from-file\"\nregion = \"eu-west-1\"\n").unwrap();
    let of_file = run(&[], None);
    assert!(
        of_file.err.contains("the stack from-file in eu-north-1"),
        "the variable AWS_REGION comes first: {of_file:?}"
    );
    assert!(run(&["--region", "us-east-2"], None).err.contains("from-file in us-east-2"));
    std::fs::write(folder.join("gatehouse.toml"), "stak = \"prod\"\n").unwrap();
    let wrong = run(&[], None);
    assert!(wrong.code == 1 && wrong.err.contains("gatehouse.toml: ") && wrong.err.contains("stak"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_turns_are_found_under_the_present_and_the_former_name() {
    let bed = Bed::start().await;
    let turn = |source: &str, id: &str| {
        let body = format!(
            r#"{{"type":"turn","turn_id":"{id}","agent":"kit","dialect":"ag-kit","conversation":"c1","duration_ms":5,
                "request":{{"messages":[{{"role":"user","content":"{MESSAGE_TEXT} {id}"}}]}},"answer":"data: [DONE]\\n\\n"}}"#
        );
        gatehouse_payload::Event {
            id: gatehouse_payload::EventId::from_stored(format!("{source}:{id}")),
            source: source.to_owned(),
            event_type: Some("turn".to_owned()),
            subject: Some(gatehouse_payload::Subject::new(source, "conversation", "c1")),
            occurred_at: Clock::System.now(),
            received_at: Clock::System.now(),
            fingerprint: gatehouse_payload::Fingerprint::of(&body),
            nonce: gatehouse_payload::Nonce::random().unwrap(),
            verified_by: "bearer:web".to_owned(),
            body: body.into(),
            answer: None,
            asked: None,
            flags: Default::default(),
            is_one_question: false,
        }
    };
    for turn in [turn("ag-kit", "t1"), turn("chat", "t2")] {
        bed.store().record(&turn, Clock::System.now()).await.unwrap();
    }
    for source in ["chat", "ag-kit"] {
        assert_eq!(bed.run(&["events", "list", "--source", source, "--json"]).lines().len(), 2, "{source}");
        let subject = format!("{source}:conversation:c1");
        assert_eq!(bed.run(&["events", "timeline", &subject, "--json"]).lines().len(), 2, "{subject}");
        let all = bed.run(&["events", "timeline", &subject, "-n", "2"]);
        assert!(!all.err.contains("more"), "{all:?}");
        let first = bed.run(&["events", "timeline", &subject, "-n", "1"]);
        assert!(first.err.contains("there are more: the first event is shown"), "{first:?}");
    }
    let shown = bed.run(&["conversations", "show", "c1", "--payload", "--json"]).line();
    let texts: Vec<&str> =
        shown["transcript"].as_array().unwrap().iter().map(|said| said["text"].as_str().unwrap()).collect();
    assert_eq!(texts, [format!("{MESSAGE_TEXT} t1"), format!("{MESSAGE_TEXT} t2")]);
    assert_eq!(bed.run(&["conversations", "list", "--json"]).line()["events"], 2);
    for id in ["t1", "t2", "ag-kit:t1", "chat:t2"] {
        assert_eq!(bed.run(&["show", id, "--json"]).line()["kind"], "turn", "{id}");
    }
    assert_eq!(bed.run(&["events", "export", "--source", "chat"]).lines().len(), 2);
    let checked = bed.run(&["check-release", "--source", "chat", "--dry-run"]);
    assert!(checked.code == 0 && checked.out.starts_with("2 events checked"), "{checked:?}");
    let erased = bed.run(&["events", "erase", "--subject", "ag-kit:conversation:c1", "--yes"]);
    assert!(erased.code == 0 && erased.out.contains("removed 2 events"), "{erased:?}");
}
