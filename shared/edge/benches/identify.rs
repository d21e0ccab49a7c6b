//! Processor time between the network's two ends: verifying a body, and reading, identifying and fingerprinting it.
//! `cargo bench -p gatehouse-edge`
#![allow(clippy::unwrap_used, missing_docs)]

use gatehouse_edge::signature::SigningKey;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Source, Verified};
use gatehouse_inbox::Clock;
use gatehouse_payload::json::Document;

fn main() {
    processor_time();
}

fn processor_time() {
    println!("{:<50} {:>9} {:>11} {:>11}", "processor time, median ms", "body B", "verify", "identify");
    let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let call = include_str!("../../../tests/fixtures/vapi/end-of-call-report.json");
    for messages in [0, 100, 1_000, 10_000] {
        let message = r#"{"role":"bot","message":"A sentence as an assistant says it, with \"quotes\".","time":1795166264913,"toolCalls":[]},"#;
        let messages = message.repeat(messages);
        let body = call
            .replace("\"artifact\": {", &format!("\"artifact\": {{\"messages\":[{}],", messages.trim_end_matches(',')));
        let verify = median(|| drop(key.sign("msg_1", "1795166264", body.as_bytes())));
        let identify = median(|| {
            let document = Document::read(body.as_bytes()).unwrap();
            let source = Source::Vapi(Channel::Server);
            let verified = Verified { by: "bearer".to_owned(), message_id: None };
            let at = Clock::System.now();
            let _ = (source.parse(&document), source.identify(&document, &verified, at), source.fingerprint(&document));
        });
        println!("{:<50} {:>9} {verify:>11.2} {identify:>11.2}", "end-of-call-report", body.len());
    }
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let started = tokio::time::Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
