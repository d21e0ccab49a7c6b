//! Measures the processor time of one delivery for each sample: `cargo bench -p gatehouse-edge`
//!
//! - `verify`: computes the signature of a body, by size;
//! - `identify`: reads, identifies and fingerprints a body, like the receiver;
//! - `whole`: parses the message into its documented type.
//!
//! Includes the samples in `../shared/samples`, outside the repository, if they are present.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt;
use std::path::Path;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use gatehouse_edge::signature::SigningKey;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Source, Verified};
use gatehouse_inbox::Nonce;
use gatehouse_payload::json::Document;
use gatehouse_payload::wire::read;
use gatehouse_payload::{ada, agntix, vapi};

struct Sample {
    name: String,
    source: Source,
    body: String,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

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
                // Skips messages to Vapi and files that are not events.
                if !["inbound_", "response_", "add-message", "_index"].iter().any(|start| name.starts_with(start)) {
                    let (name, body) = (format!("{vendor}/{name}"), std::fs::read_to_string(path).unwrap());
                    samples.push(Sample { name, source, body });
                }
            }
        }
    }
    for messages in [100, 1_000, 10_000] {
        let (name, source) = (format!("vapi/report-of-{messages}-messages"), Source::Vapi(Channel::Server));
        samples.push(Sample { name, source, body: report(messages) });
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

#[divan::bench(args = [0, 100, 1_000, 10_000])]
fn verify(bencher: Bencher, messages: usize) {
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let body = report(messages);
    bencher
        .counter(BytesCount::of_str(&body))
        .bench_local(|| key.sign("msg_1", "1795166264", black_box(body.as_bytes())));
}

#[divan::bench(args = samples())]
fn identify(bencher: Bencher, Sample { source, body, .. }: &Sample) {
    let verified = Verified { by: "bearer".to_owned(), message_id: Some("msg_1".to_owned()) };
    let nonce = Nonce::random().unwrap();
    bencher.counter(BytesCount::of_str(body)).bench_local(|| {
        let document = Document::read(black_box(body.as_bytes())).unwrap();
        let fingerprint = source.fingerprint(&document);
        black_box((source.parse(&document), source.identify(&document, &verified, &fingerprint, &nonce)));
    });
}

#[divan::bench(args = samples())]
fn whole(bencher: Bencher, Sample { source, body, .. }: &Sample) {
    bencher.counter(BytesCount::of_str(body)).bench_local(|| {
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
}

fn main() {
    divan::main();
}
