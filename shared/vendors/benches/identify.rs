//! Measures the processor time of one delivery for each sample: `cargo bench -p gatehouse-vendors`
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
use gatehouse_messages::{ada, agntix, vapi};
use gatehouse_payload::Nonce;
use gatehouse_payload::json::Document;
use gatehouse_payload::wire::read;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::signature::SigningKey;
use gatehouse_vendor::{Proof, Source};
use gatehouse_vendors::{of_vendor, vendors};

struct Sample {
    name: String,
    source: &'static dyn Source,
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
    for vendor in vendors() {
        let Some(source) = of_vendor(vendor) else { continue };
        for folder in [format!("{vendor}/samples"), format!("../../../shared/samples/{vendor}")] {
            let Ok(files) = std::fs::read_dir(root.join(folder)) else { continue };
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
        let name = format!("vapi/report-of-{messages}-messages");
        samples.push(Sample { name, source: &Vapi::SERVER, body: report(messages) });
    }
    samples
}

/// The report of a long call.
fn report(messages: usize) -> String {
    let call = gatehouse_vapi::samples::END_OF_CALL_REPORT;
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
    let proof = Proof { by: "bearer".to_owned(), message_id: Some("msg_1".to_owned()) };
    let nonce = Nonce::random().unwrap();
    bencher.counter(BytesCount::of_str(body)).bench_local(|| {
        let document = Document::read(black_box(body.as_bytes())).unwrap();
        let fingerprint = source.fingerprint(&document);
        black_box((source.parse(&document), source.identify(&document, &proof, &fingerprint, &nonce)));
    });
}

#[divan::bench(args = samples())]
fn whole(bencher: Bencher, Sample { source, body, .. }: &Sample) {
    bencher.counter(BytesCount::of_str(body)).bench_local(|| {
        let document = Document::read(black_box(body.as_bytes())).unwrap();
        match source.profile().vendor {
            "ada" => drop(read::<ada::Event>(document.text()).unwrap()),
            "agntix" => drop(read::<agntix::Event>(document.text()).unwrap()),
            _ => {
                let envelope = gatehouse_vapi::Envelope::of(&document);
                drop(read::<vapi::message::ServerMessage>(envelope.text()).unwrap());
            }
        }
    });
}

fn main() {
    divan::main();
}
