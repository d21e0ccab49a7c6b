//! Tests parsing of rules files and the replies that rules choose.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use gatehouse_replies::{RuleResult, Rules, VapiMessage};
use gatehouse_vapi::Channel;
use proptest::prelude::*;
use serde_json::{Value, json};

fn rules(text: &Value) -> Rules {
    Rules::parse("rules.json", &text.to_string()).unwrap()
}

fn choose(rules: &Rules, channel: Channel, message: &Value) -> RuleResult {
    rules.choose(channel, &VapiMessage::of(message.to_string().as_bytes()), &BTreeMap::new(), None)
}

/// The text of the `say` reply that a rule gives to a client message.
fn reply_text(rule: Value, message: Value) -> Option<String> {
    let chosen = choose(&rules(&json!({"client": [rule]})), Channel::Client, &message);
    let reply: Value = serde_json::from_str(&chosen.reply?).unwrap();
    Some(reply["message"]["content"].as_str().unwrap().to_owned())
}

fn say(text: &str) -> Value {
    json!({"message": {"type": "say", "content": text}})
}

fn parse_error(file: &Value) -> String {
    Rules::parse("rules.json", &file.to_string()).unwrap_err().to_string()
}

fn repository(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

#[test]
fn rules_files_of_the_repository_are_valid() {
    Rules::parse("functions/replies.json", &repository("functions/replies.json")).unwrap();
    let development = Rules::parse("functions/replies.dev.json", &repository("functions/replies.dev.json")).unwrap();
    assert_eq!(development.warnings(), [""; 0]);
    let published: Value =
        serde_json::from_str(&repository("shared/vendors/vapi/samples/workflow-node-started.json")).unwrap();
    let reply = choose(&development, Channel::Client, &published).reply.unwrap();
    let expected: Value = serde_json::from_str(&repository("shared/vendors/vapi/samples/add-message.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&reply).unwrap(), expected);
}

#[test]
fn errors_of_questions_name_the_member() {
    let error = |channel: &str, when: Value, members: Value| {
        let mut rule = json!({"when": when, "ask": "orders"});
        rule.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Rules::parse("rules.json", &json!({channel: [rule]}).to_string()).map(drop).map_err(|error| error.to_string())
    };
    let (tools, every, hang) = (json!({"type": "tool-calls"}), json!({"type": "*"}), json!({"type": "hang"}));
    for (when, members) in [
        (&tools, json!({"within": "16s", "else": {"error": "x"}, "once": false, "unredacted": true})),
        (&tools, json!({"within": "2.5s", "act": {"type": "end-call"}})),
        (&tools, json!({"answer": false, "within": "2000ms"})),
        (&every, json!({"within": "16s", "once": true})),
        (&hang, json!({"answer": false})),
        (&hang, json!({})),
    ] {
        assert_eq!(error("server", when.clone(), members.clone()), Ok(()), "{when} {members}");
    }
    assert_eq!(error("client", every.clone(), json!({"else": say("x"), "within": "2s"})), Ok(()));
    for (channel, when, members, expected) in [
        ("server", &tools, json!({"reply": {"result": "x"}}), "reply: it cannot be combined with ask"),
        ("server", &tools, json!({"ask": "or ders"}), "ask: the name of a service has"),
        ("server", &tools, json!({"ask": ""}), "ask: the name of a service has"),
        ("server", &tools, json!({"within": "17s"}), "within: more than 0 s and at most 16 s"),
        ("server", &tools, json!({"within": "8"}), "within: a duration such as 8s"),
        ("server", &tools, json!({"within": "0s"}), "within: more than 0 s"),
        ("server", &tools, json!({"within": "-1s"}), "within: a duration"),
        ("server", &tools, json!({"within": "1e1s"}), "within: a duration"),
        ("server", &tools, json!({"within": 8}), "within: a string is needed"),
        ("server", &tools, json!({"else": {"assistantId": "x"}}), "else: "),
        ("server", &tools, json!({"answer": false, "else": {"error": "x"}}), "else: it has no effect"),
        ("server", &tools, json!({"answer": false, "within": "3s"}), "within: more than 0 s"),
        ("server", &json!({"type": "assistant-request"}), json!({"within": "4s"}), "at most 3.7 s"),
        ("server", &json!({"type": "call.endpointing.request"}), json!({"within": "3s"}), "at most 2 s"),
        ("server", &json!({"type": "knowledge-base-request"}), json!({"within": "9s"}), "at most 8 s"),
        ("server", &every, json!({"else": {}}), "else: the reply depends on the type"),
        ("server", &every, json!({"within": "17s"}), "at most 16 s"),
        ("server", &hang, json!({"once": false}), "once: it has no effect"),
        ("client", &every, json!({"within": "3s"}), "at most 2 s"),
        ("client", &every, json!({"else": {"type": "say"}}), "else: type: unknown field"),
    ] {
        let found = error(channel, when.clone(), members.clone()).unwrap_err();
        assert!(found.contains(expected), "{members}: {found}\nshould contain: {expected}");
    }
    let lone = json!({"server": [{"when": tools, "reply": {"result": "x"}, "within": "2s"}]});
    assert!(parse_error(&lone).contains("within: it is only valid with ask"));
}

#[test]
fn question_is_not_asked_without_access_to_services() {
    let rules = rules(&json!({"server": [
        {"when": {"type": "tool-calls", "tool": "a"}, "ask": "orders"},
        {"when": {"type": "*"}, "ask": "mine"},
        {"when": {"type": "assistant-request"}, "reply": {"assistantId": "x"}},
    ]}));
    let unasked = |message: Value| choose(&rules, Channel::Server, &json!({"message": message})).unasked;
    assert_eq!(unasked(json!({"type": "assistant-request"})), Some("mine".to_owned()));
    let calls = json!([{"id": "1", "function": {"name": "a", "arguments": {}}}]);
    assert_eq!(unasked(json!({"type": "tool-calls", "toolCalls": calls})), Some("orders".to_owned()));
    assert_eq!(rules.questions().collect::<Vec<_>>(), [("server rule 1", "orders"), ("server rule 2", "mine")]);
    let longest = |name| rules.longest_question(Channel::Server, Some(name)).map(|within| within.as_millis());
    assert_eq!([longest("tool-calls"), longest("assistant-request"), longest("hang")], [Some(8000), Some(3000), None]);
    assert_eq!(rules.longest_question(Channel::Client, Some("hang")), None);
}

#[test]
fn checked_in_schema_matches_the_types() {
    let schema = gatehouse_replies::schema::schema();
    let checked_in: Value = serde_json::from_str(&repository("functions/replies.schema.json")).unwrap();
    let command = "cargo run -p gatehouse-replies --example schema --features schema > functions/replies.schema.json";
    assert!(schema == checked_in, "the types have changed; run: {command}");
}

#[test]
fn first_matching_rule_decides() {
    let rules = rules(&json!({"client": [
        {"when": {"type": "hang", "where": {"/call/id": "c1"}}, "reply": say("first")},
        {"when": {"type": "hang"}, "reply": say("{{/call/name}}")},
        {"when": {"type": "hang"}, "reply": say("last")},
    ]}));
    let deciding_rule = |call: Value| {
        let chosen = choose(&rules, Channel::Client, &json!({"message": {"type": "hang", "call": call}}));
        chosen.rules.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(deciding_rule(json!({"id": "c1", "name": "n"})), ["client rule 1"]);
    assert_eq!(deciding_rule(json!({"id": "c2", "name": "n"})), ["client rule 2"]);
    assert_eq!(deciding_rule(json!({"id": "c2"})), ["client rule 3"], "a reply that cannot be filled does not apply");
    let other = choose(&rules, Channel::Client, &json!({"message": {"type": "metadata"}}));
    assert_eq!(other, RuleResult::default());
    let server = choose(&rules, Channel::Server, &json!({"message": {"type": "hang", "call": {"id": "c1"}}}));
    assert_eq!(server, RuleResult::default(), "client rules do not apply to server messages");
}

#[test]
fn condition_tests_the_value_at_its_pointer() {
    let message =
        json!({"message": {"type": "hang", "text": "abc", "n": 1.0, "t": true, "z": null, "list": [{"a": 7}]}});
    let holds = |at: &str, condition: Value| {
        let rule = json!({"when": {"type": "hang", "where": {at: condition}}, "reply": say("x")});
        reply_text(rule, message.clone()).is_some()
    };
    for (at, condition) in [
        ("/text", json!("abc")),
        ("/text", json!(["x", "abc"])),
        ("/text", json!({"startsWith": "ab"})),
        ("/text", json!({"not": ["x", "y"]})),
        ("/n", json!(1)),
        ("/n", json!([2, 1])),
        ("/t", json!(true)),
        ("/z", json!(null)),
        ("/z", json!({"exists": false})),
        ("/none", json!({"exists": false})),
        ("/none", json!({"not": "x"})),
        ("/list", json!({"exists": true})),
        ("/list/0/a", json!(7)),
        ("/type", json!("hang")),
    ] {
        assert!(holds(at, condition.clone()), "{at} {condition}");
    }
    for (at, condition) in [
        ("/text", json!("ab")),
        ("/text", json!({"startsWith": "bc"})),
        ("/text", json!({"not": "abc"})),
        ("/n", json!("1")),
        ("/n", json!({"startsWith": "1"})),
        ("/t", json!("true")),
        ("/z", json!({"exists": true})),
        ("/none", json!(null)),
        ("/list/1/a", json!(7)),
    ] {
        assert!(!holds(at, condition.clone()), "{at} {condition}");
    }
}

#[test]
fn no_rule_applies_to_an_ambiguous_value() {
    for condition in
        [json!({"not": true}), json!({"not": "x"}), json!(true), json!({"exists": true}), json!({"exists": false})]
    {
        let rules = rules(&json!({"server": [
            {"when": {"type": "campaign.predial", "where": {"/dnc": condition}}, "reply": {"eligible": true}}]}));
        for dnc in [r#""dnc":true,"dnc":false"#, r#""dnc":"\ud800""#] {
            let body = format!(r#"{{"message":{{"type":"campaign.predial",{dnc}}}}}"#);
            let chosen = rules.choose(Channel::Server, &VapiMessage::of(body.as_bytes()), &BTreeMap::new(), None);
            assert_eq!(chosen.reply, None, "{condition} {dnc}");
        }
    }
}

#[test]
fn long_numbers_are_compared_digit_by_digit() {
    let actions = |n: &str| {
        let rules =
            format!(r#"{{"client":[{{"when":{{"type":"hang","where":{{"/n":{n}}}}},"act":{{"type":"end-call"}}}}]}}"#);
        let message = VapiMessage::of(br#"{"message":{"type":"hang","n":9007199254740993}}"#);
        let rules = Rules::parse("rules.json", &rules).unwrap();
        rules.choose(Channel::Client, &message, &BTreeMap::new(), None).act.len()
    };
    assert_eq!((actions("9007199254740993"), actions("9007199254740992")), (1, 0));
}

#[test]
fn final_transcript_rule_ignores_partial_transcripts() {
    let applies =
        |rule: &str, message: Value| reply_text(json!({"when": {"type": rule}, "reply": say("x")}), message).is_some();
    let final_only = r#"transcript[transcriptType="final"]"#;
    let partial = json!({"message": {"type": "transcript", "transcriptType": "partial"}});
    let whole = json!({"message": {"type": "transcript", "transcriptType": "final"}});
    let named = json!({"message": {"type": final_only}});
    for message in [&partial, &whole, &named] {
        assert!(applies("transcript", message.clone()), "{message}");
        assert_eq!(applies(final_only, message.clone()), message != &partial, "{message}");
    }
}

#[test]
fn template_reads_the_message_in_any_wrapping() {
    let rule = json!({"when": {"type": "hang"}, "reply": say("{{/a/b}} {{/n}} {{/t}} {{/z|nothing}}")});
    let message = json!({"type": "hang", "a": {"b": "\"quoted\"\n"}, "n": 1.50, "t": true, "z": null});
    for wrapped in [message.clone(), json!({"message": message}), json!(json!({"message": message}).to_string())] {
        assert_eq!(reply_text(rule.clone(), wrapped).unwrap(), "\"quoted\"\n 1.5 true nothing");
    }
}

#[test]
fn invalid_reply_is_reported_without_its_text_and_not_sent() {
    let destination = json!({"type": "number", "number": "{{/number|+4670000000}}"});
    let number = json!({"message": {"type": "transfer", "destination": destination}});
    let control = json!({"message": {"type": "control", "control": "{{/what|mute-assistant}}"}});
    for (reply, member, text) in [
        (number, "number", "n".repeat(41)),
        (control.clone(), "what", "in-confidence".to_owned()),
        (control, "what", "x, expected in-confidence".to_owned()),
        (say("{{/long}}"), "long", "in-confidence".repeat(6000)),
    ] {
        let act = json!({"type": "end-call"});
        let rules = rules(&json!({"client": [{"when": {"type": "hang"}, "reply": reply, "act": act}]}));
        let chosen = choose(&rules, Channel::Client, &json!({"message": {"type": "hang", member: text}}));
        assert_eq!((chosen.reply, chosen.rules.len(), chosen.faults.len()), (None, 1, 1), "{:?}", chosen.faults);
        assert!(chosen.faults[0].starts_with("client rule 1: reply: "), "{:?}", chosen.faults);
        assert!(chosen.act.is_empty(), "a rule with an invalid reply does not act");
        assert!(!chosen.faults[0].contains("in-confidence"), "{:?}", chosen.faults);
    }
}

#[test]
fn every_inbound_message_can_be_a_reply_and_an_act() {
    for message in [
        json!({"type": "add-message", "message": {"role": "system", "content": "Be brief."}}),
        json!({"type": "control", "control": "mute-assistant"}),
        json!({"type": "say", "content": "Goodbye."}),
        json!({"type": "end-call"}),
        json!({"type": "transfer"}),
        json!({"type": "send-transport-message", "message": {"transport": "twilio", "twiml": "<Response/>"}}),
    ] {
        let rules =
            rules(&json!({"client": [{"when": {"type": "hang"}, "reply": {"message": message}, "act": message}]}));
        let chosen = choose(&rules, Channel::Client, &json!({"message": {"type": "hang"}}));
        assert_eq!(serde_json::from_str::<Value>(&chosen.reply.unwrap()).unwrap(), json!({"message": message}));
        assert_eq!(serde_json::from_str::<Value>(&chosen.act[0]).unwrap(), message);
    }
}

#[test]
fn action_with_missing_text_is_omitted_and_reported() {
    let act = json!({"type": "say", "content": "{{/name}}"});
    let both = json!({"when": {"type": "hang"}, "reply": say("x"), "act": act});
    let alone = json!({"when": {"type": "hang"}, "act": act});
    let next = json!({"when": {"type": "hang"}, "reply": say("y")});
    let message = json!({"message": {"type": "hang"}});
    let chosen = choose(&rules(&json!({"client": [both, next]})), Channel::Client, &message);
    assert!(chosen.reply.is_some() && chosen.act.is_empty(), "{chosen:?}");
    assert_eq!(chosen.faults, ["client rule 1: act: the message has no text at /name"]);
    let chosen = choose(&rules(&json!({"client": [alone, next]})), Channel::Client, &message);
    assert!(
        chosen.reply.is_some_and(|reply| reply.contains('y')) && chosen.faults.is_empty(),
        "a rule with only an act does not apply, so the next one does"
    );
}

fn results(rules: &Rules, calls: &Value) -> (Value, RuleResult) {
    let chosen = choose(rules, Channel::Server, &json!({"message": {"type": "tool-calls", "toolCallList": calls}}));
    (chosen.reply.as_deref().map_or(Value::Null, |reply| serde_json::from_str(reply).unwrap()), chosen)
}

#[test]
fn oversized_result_does_not_affect_other_results() {
    let rules = rules(&json!({"server": [
        {"when": {"type": "tool-calls"}, "reply": {"result": "{{/tool/arguments/x}}"}}]}));
    let call = |id: &str, x: &str| json!({"id": id, "function": {"name": "f", "arguments": {"x": x}}});
    let (reply, chosen) = results(&rules, &json!([call("1", "short"), call("2", &"x".repeat(66_000))]));
    assert_eq!(
        (&reply["results"][0]["result"], &reply["results"][1]["error"]),
        (&json!("short"), &json!("The result is too long."))
    );
    assert_eq!(chosen.faults.len(), 1);
}

#[test]
fn tool_rule_with_only_an_act_gives_no_result() {
    let rules = rules(&json!({"server": [
        {"when": {"type": "tool-calls", "tool": "a"}, "act": {"type": "end-call"}},
        {"when": {"type": "tool-calls", "tool": "b"}, "reply": {"result": "b"}},
    ]}));
    let call = |name: &str| json!({"id": name, "name": name, "arguments": {}});
    let (reply, chosen) = results(&rules, &json!([call("a"), call("b")]));
    assert_eq!(reply, json!({"results": [{"toolCallId": "b", "name": "b", "result": "b"}]}));
    assert_eq!(chosen.act.len(), 1);
}

#[test]
fn tool_calls_are_read_in_every_documented_form() {
    let schema = json!({"properties": {"city": {"type": "string"}}});
    for call in [
        json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": {"city": "Oslo"}}}),
        json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"city\":\"Oslo\"}"}}),
        json!({"id": "c", "function": {"name": "f", "parameters": {"city": "Oslo"}}}),
        json!({"id": "c", "name": "f", "parameters": {"city": "Oslo"}}),
        json!({"id": "c", "name": "f", "arguments": "{\"city\":\"Oslo\"}"}),
    ] {
        let function = json!({"name": "f", "parameters": schema});
        let tool = json!({
            "type": "function", "name": "f", "parameters": schema, "function": function, "toolCall": call,
        });
        for lists in
            [json!({"toolCallList": [call]}), json!({"toolCallList": [{"name": "f"}], "toolWithToolCallList": [tool]})]
        {
            let mut message = json!({"type": "tool-calls"});
            message.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
            let tool_calls = VapiMessage::of(json!({"message": message}).to_string().as_bytes()).tool_calls();
            assert_eq!((tool_calls.calls.len(), tool_calls.unidentified), (1, 0), "{message}");
            assert_eq!(tool_calls.calls[0].read::<Value>().unwrap(), json!({"city": "Oslo"}), "{message}");
        }
    }
    let rules = rules(&json!({"server": [{"when": {"type": "tool-calls"}, "reply": {"result": "x"}}]}));
    let (_, chosen) = results(&rules, &json!([{"id": 7, "name": "f"}, {"id": "c", "name": "f"}]));
    assert_eq!(chosen.faults, ["1 tool calls have no id or no name"]);
}

#[test]
fn rules_are_not_evaluated_after_the_deadline() {
    let rules = rules(&json!({"client": [{"when": {"type": "hang"}, "reply": say("x")}]}));
    let message = VapiMessage::of(br#"{"message":{"type":"hang"}}"#);
    let chosen = rules.choose(Channel::Client, &message, &BTreeMap::new(), Some(tokio::time::Instant::now()));
    assert_eq!((chosen.reply, chosen.faults), (None, vec!["deadline reached before client rule 1".to_owned()]));
}

#[test]
fn error_names_file_rule_and_member() {
    let server = |rule: Value| json!({"server": [{"when": {"type": "hang"}, "act": {"type": "end-call"}}, rule]});
    let when = |name: &str| json!({"type": name});
    let transfer = |destination: Value| json!({"type": "transfer", "destination": destination});
    for (file, expected) in [
        (json!([]), "rules.json: an object is needed"),
        (json!({"rules": []}), "rules.json: unknown field `rules`"),
        (json!({"server": {}}), "rules.json: an array is needed"),
        (server(json!(7)), "rules.json: server rule 2: an object is needed"),
        (server(json!({"reply": {}})), "rules.json: server rule 2: missing field `when`"),
        (server(json!({"when": {}})), "rules.json: server rule 2: when: missing field `type`"),
        (server(json!({"when": when("hang")})), "rules.json: server rule 2: the rule has no reply, no act and no ask"),
        (server(json!({"when": when("hang"), "reply": {}})), "server rule 2: reply: Vapi does not wait"),
        (server(json!({"when": when("hang"), "acts": {}})), "server rule 2: acts: unknown field `acts`"),
        (
            server(json!({"when": {"type": "hang", "tool": "x"}, "act": {"type": "end-call"}})),
            "server rule 2: when.tool: only server rules for tool-calls",
        ),
        (
            server(json!({"when": {"type": "hang", "where": {"call": 1}}, "act": {"type": "end-call"}})),
            "server rule 2: when.where.call: a pointer begins with /",
        ),
        (
            server(json!({"when": {"type": "hang", "where": {"/a": {"is": 1}}}, "act": {"type": "end-call"}})),
            "when.where./a: one of `not`, `startsWith`, `exists` is needed",
        ),
        (
            server(json!({"when": {"type": "hang", "where": {"/a": [[1]]}}, "act": {"type": "end-call"}})),
            "when.where./a: a string, number, boolean or null",
        ),
        (
            server(json!({"when": when("assistant-request"), "reply": {"assistantID": "a"}})),
            "server rule 2: reply: assistantID: unknown field `assistantID`",
        ),
        (
            server(json!({"when": when("call.endpointing.request"), "reply": {"timeoutSeconds": 16}})),
            "server rule 2: reply: timeoutSeconds: a number from 0 to 15 is needed",
        ),
        (
            server(json!({"when": when("tool-calls"), "reply": {"result": 5}})),
            "server rule 2: reply: result: a string is needed",
        ),
        (server(json!({"when": when("hang"), "act": {"type": "hangup"}})), "server rule 2: act: "),
        (server(json!([when("hang"), {"type": "end-call"}])), "server rule 2: an object is needed"),
        (server(json!({"when": ["hang"], "act": {"type": "end-call"}})), "server rule 2: when: an object is needed"),
        (
            server(json!({"when": when("campaign.predial"), "reply": [true]})),
            "server rule 2: reply: an object is needed",
        ),
        (
            server(json!({"when": when("hang"), "act": transfer(json!({"type": "number", "number": "0800"}))})),
            "server rule 2: act: destination: a number in E.164 is needed",
        ),
        (
            server(json!({"when": when("hang"), "act": transfer(
                json!({"type": "sip", "sipUri": "sip:a", "transferPlan": {"mode": "cold"}}))})),
            "act: destination: transferPlan.mode: one of `blind-transfer`",
        ),
        (
            server(json!({"when": when("hang"), "act": {"type": "hangup"}})),
            "act: type: one of `add-message` `control` `say`",
        ),
        (
            json!({"client": [{"when": when("hang"), "reply": {"type": "end-call"}}]}),
            "client rule 1: reply: type: unknown field `type`, expected `message`",
        ),
        (
            json!({"client": [{"when": when("hang"), "reply": say("{{/a")}]}),
            "client rule 1: reply: a placeholder that begins with {{/ must end with }}",
        ),
    ] {
        let error = parse_error(&file);
        assert!(error.contains(expected), "{error}\nshould contain: {expected}");
    }
    for (file, expected) in [
        (
            r#"{"server":[{"when":{"type":"hang"},"when":{"type":"hang"},"act":{"type":"end-call"}}]}"#,
            "when: the member occurs twice",
        ),
        (
            r#"{"server":[{"when":{"type":"campaign.predial"},"reply":{"eligible":false,"eligible":true}}]}"#,
            "reply.eligible: the member occurs twice",
        ),
    ] {
        let error = Rules::parse("rules.json", file).unwrap_err().to_string();
        assert_eq!(error, format!("rules.json: server rule 1: {expected}"));
    }
    let cut_short = Rules::parse("rules.json", "{\n  \"client\": [").unwrap_err().to_string();
    assert!(cut_short.contains("line 2"), "{cut_short}");
}

#[test]
fn suspicious_rules_are_reported() {
    let act = json!({"type": "end-call"});
    let warnings_of = |file: Value| rules(&file).warnings();
    let warnings = warnings_of(json!({
        "client": [{"when": {"type": "workflow.node.start"}, "act": act}],
        "server": [{"when": {"type": "metadata"}, "act": act}],
    }));
    assert!(warnings[0].contains("client rule 1") && warnings[0].contains("workflow.node.start"), "{warnings:?}");
    assert!(warnings[1].contains("server rule 1") && warnings.len() == 2, "{warnings:?}");
    for (rule, expected) in [
        (
            json!({"when": {"type": "hang", "where": {"/message/call/id": "c"}}, "act": act}),
            "/message/call/id starts at the envelope",
        ),
        (json!({"when": {"type": "hang"}, "reply": say("{{/tool/name}}")}), "/tool/name exists only in"),
        (json!({"when": {"type": "hang"}, "reply": say("{{ /call/id }}")}), "{{ /call/id }} is sent to Vapi unchanged"),
        (json!({"when": {"type": "hang"}, "reply": say("{{call/id}}")}), "{{call/id}} is sent to Vapi unchanged"),
    ] {
        let warnings = warnings_of(json!({"client": [rule]}));
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
    }
    let first = json!({"when": {"type": "hang"}, "reply": say("{{/x|y}}")});
    let never = json!({"when": {"type": "hang", "where": {"/x": 1}}, "act": act});
    assert_eq!(
        warnings_of(json!({"client": [first, never]})),
        ["rules.json: client rule 2: client rule 1 always applies first"]
    );
    assert_eq!(warnings_of(json!({"client": [never, first]})), [""; 0]);
    // Vapi sends these types although it documents no schema for them.
    for sent in ["status-update", "language-changed", "tool.completed", "function-call"] {
        assert_eq!(warnings_of(json!({"client": [{"when": {"type": sent}, "act": act}]})), [""; 0], "{sent}");
    }
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(256))]

    #[test]
    fn any_text_is_escaped_in_a_reply(text in "\\PC{0,40}|[\"\\\\{}/|]{0,12}") {
        let rule = json!({"when": {"type": "hang"}, "reply": say("<{{/text}}>")});
        let message = json!({"message": {"type": "hang", "text": text}});
        prop_assert_eq!(reply_text(rule, message), Some(format!("<{text}>")));
    }

    #[test]
    fn no_body_makes_rules_panic(body in "\\PC{0,60}|[\\[{\"a:,}\\]0-9]{0,60}") {
        let rule = json!({"when": {"type": "a", "where": {"/a/0": 1}}, "reply": say("{{/a|b}}")});
        let rules = rules(&json!({"client": [rule]}));
        let _ = rules.choose(Channel::Client, &VapiMessage::of(body.as_bytes()), &BTreeMap::new(), None);
    }
}
