//! Tests that two deliveries of one event have the same id and fingerprint, and different events do not. Uses the
//! samples of all vendors, and those in `../shared/samples`, outside the repository, if they are present.

use std::path::Path;
use std::sync::LazyLock;

use gatehouse_payload::json::{Compared, Document};
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_vapi::Class;
use gatehouse_vapi::{COMMON_MEMBERS, compared};
use gatehouse_vendor::{Proof, Source};
use gatehouse_vendors::{of_vendor, vendors};
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use serde_json::Value;

struct Sample {
    name: String,
    source: &'static dyn Source,
    value: Value,
}

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut samples = Vec::new();
    for vendor in vendors() {
        let source = of_vendor(vendor).unwrap();
        for folder in [format!("{vendor}/samples"), format!("../../../shared/samples/{vendor}")] {
            let Ok(files) = std::fs::read_dir(root.join(folder)) else { continue };
            let files =
                files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
            samples.extend(files.map(|path| Sample {
                name: path.display().to_string(),
                source,
                value: serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap(),
            }));
        }
    }
    assert!(samples.len() >= 12);
    samples
});

fn read(source: &dyn Source, body: &str, message_id: &str) -> (EventId, Fingerprint) {
    let document = Document::read(body.as_bytes()).unwrap();
    let proof = Proof { by: "svix".to_owned(), message_id: Some(message_id.to_owned()) };
    let (fingerprint, nonce) = (source.fingerprint(&document), Nonce::from_bytes(&[7; 16]).unwrap());
    (source.identify(&document, &proof, &fingerprint, &nonce).id, fingerprint)
}

/// Serializes a value with random order of members, random white space and new values of volatile members.
fn write_retry(value: &Value, path: &mut Vec<String>, rng: &mut TestRng, text: &mut String) {
    let mut space = |text: &mut String| text.push_str(["", " ", "\n\t", "  "][rng.random_range(0..4)]);
    space(text);
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for n in (1..members.len()).rev() {
                members.swap(n, rng.random_range(0..=n));
            }
            text.push('{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if n > 0 { "," } else { "" });
                text.push_str(&format!("{}:", Value::from(name.as_str())));
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                let random = rng.random_range(0..u64::MAX);
                match (compared(&names, name), value) {
                    (Compared::WithoutQuery, Value::String(url)) => {
                        let url = url.split('?').next().unwrap();
                        text.push_str(&Value::from(format!("{url}?signature={random}")).to_string());
                        continue;
                    }
                    (Compared::IsText, Value::String(_)) => {
                        text.push_str(&format!("\"{random}\""));
                        continue;
                    }
                    _ => {}
                }
                path.push(name.clone());
                write_retry(value, path, rng, text);
                path.pop();
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (n, value) in values.iter().enumerate() {
                text.push_str(if n > 0 { "," } else { "" });
                write_retry(value, path, rng, text);
            }
            text.push(']');
        }
        leaf => text.push_str(&leaf.to_string()),
    }
    text.push(' ');
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(256))]

    #[test]
    fn retry_has_the_same_id_and_fingerprint(sample in 0..SAMPLES.len(), seed in any::<[u8; 32]>()) {
        let Sample { name, source, value } = &SAMPLES[sample];
        let mut rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
        let mut retry = String::new();
        write_retry(value, &mut Vec::new(), &mut rng, &mut retry);
        let first = read(*source, &value.to_string(), "msg_1");
        prop_assert_eq!(first, read(*source, &retry, "msg_1"), "{}: {}", name, retry);
    }
}

/// Copies of a value with one changed leaf each, with the path to the leaf.
fn changed(value: &Value) -> Vec<(Vec<String>, Value)> {
    fn walk(whole: &Value, pointer: &str, path: &[String], found: &mut Vec<(Vec<String>, Value)>) {
        let step = |name: &str| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        match whole.pointer(pointer).unwrap() {
            Value::Object(members) => {
                for name in members.keys() {
                    walk(whole, &step(name), &[path, std::slice::from_ref(name)].concat(), found);
                }
            }
            Value::Array(values) => {
                for n in 0..values.len() {
                    walk(whole, &step(&n.to_string()), path, found);
                }
            }
            leaf => {
                let mut other = whole.clone();
                *other.pointer_mut(pointer).unwrap() = match leaf {
                    Value::String(text) => Value::from(format!("{text}x")),
                    Value::Number(number) => Value::from(number.as_f64().unwrap() + 1.0),
                    Value::Bool(b) => Value::from(!b),
                    _ => Value::from("x"),
                };
                found.push((path.to_vec(), other));
            }
        }
    }
    let mut found = Vec::new();
    walk(value, "", &[], &mut found);
    found
}

#[test]
fn change_of_a_compared_member_changes_the_fingerprint() {
    let mut leaves = 0;
    for Sample { name, source, value } in SAMPLES.iter() {
        let (_, fingerprint) = read(*source, &value.to_string(), "msg_1");
        for (path, other) in changed(value) {
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            let (member, parents) = names.split_last().unwrap();
            let comparison =
                if source.profile().vendor == "vapi" { compared(parents, member) } else { Compared::Whole };
            // The changed value has one more letter, which is part of the query if the URL has one.
            let has_query = value
                .pointer(&format!("/{}", path.join("/")))
                .and_then(Value::as_str)
                .is_some_and(|url| url.contains('?'));
            let is_volatile = comparison == Compared::IsText || (comparison == Compared::WithoutQuery && has_query);
            // For Vapi events of class `NamedOnce`, a resend may have another time and other snapshots.
            let kind = value.pointer("/message/type").and_then(Value::as_str).unwrap_or_default();
            let object = kind.split('.').next().unwrap_or_default();
            let is_common = match names.as_slice() {
                ["message", member, ..] => COMMON_MEMBERS.contains(member) && ![object, "type"].contains(member),
                _ => false,
            };
            let is_volatile = is_volatile || (is_common && Class::of(kind) == Class::NamedOnce);
            let (_, other) = read(*source, &other.to_string(), "msg_1");
            assert_eq!(fingerprint == other, is_volatile, "{name}: {path:?}");
            leaves += 1;
        }
    }
    assert!(leaves > 100);
}

#[test]
fn event_with_its_own_id_ignores_the_message_id() {
    for Sample { name, source, value } in SAMPLES.iter() {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let has_own_id = match source.profile().vendor {
            "agntix" => ["session.created", "session.ended"].contains(&text("/eventType")) && !text("/id").is_empty(),
            "vapi" => text("/message/type") == "assistant-request",
            _ => false,
        };
        let ids = [read(*source, &value.to_string(), "msg_1").0, read(*source, &value.to_string(), "msg_2").0];
        assert!(!has_own_id || ids[0] == ids[1], "{name}: {ids:?}");
        assert!(source.profile().vendor != "ada" || ids[0] != ids[1], "{name}: Ada's id is the message id");
    }
}
