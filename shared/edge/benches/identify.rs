//! Processor time for one delivery, by sample: `cargo bench -p gatehouse-edge`
//!
//! - `verify`: the signature of a body, by size;
//! - `identify`: what the front door does with a body: read, identify, fingerprint;
//! - `read`: the whole message as its documented type, for whoever works with one;
//!
//! A sample beside the repository (`../shared/samples`) is measured too where it is there.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gatehouse_edge::signature::SigningKey;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Source, Verified};
use gatehouse_inbox::Clock;
use gatehouse_payload::json::Document;
use gatehouse_payload::wire::read;
use gatehouse_payload::{ada, agntix, vapi};

/// Name, source and body.
type Sample = (String, Source, String);

fn samples() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut samples = Vec::new();
    for folder in ["../../tests/fixtures", "../../../shared/samples"] {
        for (vendor, source) in
            [("ada", Source::Ada), ("agntix", Source::Agntix), ("vapi", Source::Vapi(Channel::Server))]
        {
            let Ok(files) = std::fs::read_dir(root.join(folder).join(vendor)) else { continue };
            let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            paths.sort();
            for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
                let name = path.file_stem().unwrap().to_string_lossy();
                // What goes to Vapi, and what is no event.
                if !["inbound_", "response_", "add-message", "_index"].iter().any(|start| name.starts_with(start)) {
                    samples.push((format!("{vendor}/{name}"), source, std::fs::read_to_string(path).unwrap()));
                }
            }
        }
    }
    for messages in [100, 1_000, 10_000] {
        samples.push((format!("vapi/report-of-{messages}-messages"), Source::Vapi(Channel::Server), report(messages)));
    }
    samples
}

/// The report of a long call.
fn report(messages: usize) -> String {
    let call = include_str!("../../../tests/fixtures/vapi/end-of-call-report.json");
    let message = r#"{"role":"bot","message":"A sentence as an assistant says it, with \"quotes\".","time":1795166264913,"toolCalls":[]},"#;
    let messages = message.repeat(messages);
    call.replace("\"artifact\": {", &format!("\"artifact\": {{\"messages\":[{}],", messages.trim_end_matches(',')))
}

fn verify(criterion: &mut Criterion) {
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let mut group = criterion.benchmark_group("verify");
    for messages in [0, 100, 1_000, 10_000] {
        let body = report(messages);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{} B", body.len()), |b| {
            b.iter(|| key.sign("msg_1", "1795166264", black_box(body.as_bytes())));
        });
    }
}

fn identify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("identify");
    let verified = Verified { by: "bearer".to_owned(), message_id: Some("msg_1".to_owned()) };
    let at = Clock::System.now();
    for (name, source, body) in samples() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let document = Document::read(black_box(body.as_bytes())).unwrap();
                (source.parse(&document), source.identify(&document, &verified, at), source.fingerprint(&document))
            });
        });
    }
}

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for (name, source, body) in samples() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let document = Document::read(black_box(body.as_bytes())).unwrap();
                match source {
                    Source::Ada => drop(read::<ada::event::Event>(document.text()).unwrap()),
                    Source::Agntix => drop(read::<agntix::event::Event>(document.text()).unwrap()),
                    Source::Vapi(_) | Source::AgKit => {
                        let envelope = vapi::Envelope::of(&document);
                        drop(read::<vapi::message::ServerMessage>(envelope.text()).unwrap());
                    }
                }
            });
        });
    }
}

criterion_group!(benches, verify, identify, whole);
criterion_main!(benches);
