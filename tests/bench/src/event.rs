//! Vendor events of any size.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_local::Delivery;
use gatehouse_runtime::Clock;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::Source;
use gatehouse_vendors::Secrets;
use serde_json::json;

/// Words of ordinary conversations, so that bodies compress about as well as real ones.
const WORDS: &str = "the a an I you we they it is are was can could would will have has had do does did not and or but so \
    if then when where what which who how because order delivery account number address email phone payment card refund \
    appointment booking room table flight ticket invoice balance password reset update change cancel confirm schedule \
    Monday Tuesday Wednesday Thursday Friday morning afternoon evening tomorrow today yesterday week month please thank \
    thanks sorry sure okay yes no maybe right great perfect moment second minute hour check look find see help need want \
    like know think say tell ask call send receive speak connect transfer agent customer service support team manager \
    question answer problem issue reason detail information record system page form option choice first second third last \
    next new old small large blue green red street avenue north south east west one two three four five six seven eight \
    nine ten twenty thirty forty fifty hundred thousand euro dollar price cost total amount discount shipping return";

/// The bench's own secrets, because deployed functions refuse the development secrets.
pub(crate) const SECRETS: &str = r#"{
  "ada": {"signing_secrets": ["whsec_Z2F0ZWhvdXNlLWJlbmNoLWZvci1hZGEtd2ViaG9va3M="]},
  "agntix": {"signing_secrets": ["whsec_Z2F0ZWhvdXNlLWJlbmNoLWFnbnRpeC13ZWJob29rcyE="]},
  "vapi": {"schemes": [{"kind": "bearer", "header": "authorization", "prefix": "Bearer ", "values": ["a-token-of-the-bench-for-vapi"]}]},
  "agent_chat": {"clients": [{"id": "bench", "token": "a-token-of-the-bench-for-chats", "agents": ["*"]}]}
}"#;

/// A pseudo-random generator (xorshift) that gives the same numbers for the same seed.
#[derive(Debug)]
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or_default() % limit.max(1)
    }
}

fn sentence(numbers: &mut Numbers, words: usize) -> String {
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    for n in 0..words {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(all.get(numbers.below(all.len())).copied().unwrap_or_default());
    }
    text.push('.');
    text
}

fn text(numbers: &mut Numbers, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    while text.len() < bytes {
        text.push_str(&sentence(numbers, 9));
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

/// A delivery that is signed with [`SECRETS`].
#[allow(clippy::expect_used, reason = "the document is a constant and has a secret for each sender")]
pub(crate) fn signed(source: &dyn Source, message_id: &str, body: String) -> Delivery {
    let secrets = Secrets::parse(SECRETS, false).expect("the document is JSON");
    Delivery::signed(source, &secrets, message_id, body, Clock::System.now()).expect("every sender has a secret")
}

/// A number that is unique in this process and, by its time, very likely in others.
fn unique_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let began = u64::try_from(Clock::System.now().as_millis()).unwrap_or_default();
    NEXT.fetch_add(1, Ordering::Relaxed) + (began << 20)
}

/// A message in an Ada conversation, of about `bytes` bytes, with the headers of Standard Webhooks.
#[must_use]
pub(crate) fn ada(bytes: usize) -> Delivery {
    let n = unique_number();
    let mut numbers = Numbers(n | 1);
    let body = |content: &str| {
        json!({
            "type": "v1.conversation.message",
            "timestamp": Clock::System.now().to_string(),
            "tenant_id": "example",
            "data": {
                "message_id": format!("{n:024x}"),
                "conversation_id": format!("{:024x}", n / 8),
                "end_user_id": format!("{:024x}", n / 64),
                "channel": {"id": "673da1f0c2b94e5f8a017b11", "type": "messaging", "modality": "messaging"},
                "author": {"id": format!("{:024x}", n / 64), "role": "end_user", "display_name": "A customer"},
                "content": {"type": "text", "body": content},
                "created_at": Clock::System.now().to_string()
            }
        })
        .to_string()
    };
    let frame = body("").len();
    let content = text(&mut numbers, bytes.saturating_sub(frame));
    let mut delivery = signed(&Ada, &format!("msg_{n:x}"), body(&content));
    for (name, _) in &mut delivery.headers {
        // Not every library accepts Svix's names of the headers.
        *name = name.replace("svix-", "webhook-");
    }
    delivery
}

/// The report of a Vapi call, of about `bytes` bytes. As in real reports, most texts occur several times.
#[must_use]
pub(crate) fn report(bytes: usize) -> Delivery {
    let n = unique_number();
    let mut numbers = Numbers(n | 1);
    let began = Clock::System.now().as_millis() - 600_000;
    let (mut messages, mut transcript, mut size, mut at) = (Vec::new(), String::new(), 0, 0_i64);
    let report = |messages: &[serde_json::Value], transcript: &str| {
        json!({"message": {
            "type": "end-of-call-report",
            "timestamp": began + 600_000,
            "endedReason": "customer-ended-call",
            "call": {"id": format!("{n:08x}-0000-4000-8000-{n:012x}"), "orgId": "6a61d7a5-34b5-4bf1-8a1d-0c6e9bd43b5b",
                "type": "inboundPhoneCall", "customer": {"number": "+15550100"}},
            "cost": 0.1324,
            "analysis": {"summary": "The customer asked about an order and was helped.", "successEvaluation": "true"},
            "artifact": {"messages": messages, "transcript": transcript}
        }})
        .to_string()
    };
    let frame = report(&[], "").len();
    // A message takes about 170 bytes and its text, which occurs twice.
    while frame + size + 200 < bytes {
        let length = 4 + numbers.below(24);
        let mut text = sentence(&mut numbers, length);
        text.truncate((bytes - frame - size - 170) / 2);
        let (role, speaker) = if messages.len() % 2 == 0 { ("bot", "AI") } else { ("user", "User") };
        at += 1_000 + i64::try_from(numbers.below(6_000)).unwrap_or_default();
        let message = json!({"role": role, "message": text, "time": began + at, "endTime": began + at + 900,
            "secondsFromStart": at as f64 / 1000.0, "duration": 900, "source": ""});
        transcript.push_str(&format!("{speaker}: {text}\n"));
        size += message.to_string().len() + 1 + text.len() + speaker.len() + 4;
        messages.push(message);
    }
    signed(&Vapi::SERVER, "", report(&messages, &transcript))
}

/// The end of an agntix session.
#[must_use]
pub(crate) fn agntix() -> Delivery {
    let body = gatehouse_agntix::samples::SESSION_ENDED;
    signed(&Agntix, &format!("msg_{:x}", unique_number()), body.to_owned())
}

/// The end of a call, as a Vapi client message.
#[must_use]
pub(crate) fn status() -> Delivery {
    let body =
        format!(r#"{{"message":{{"type":"status-update","status":"ended","call":{{"id":"{:x}"}}}}}}"#, unique_number());
    signed(&Vapi::CLIENT, "", body)
}

/// A Lambda event for `event-retry`: a message with a new event.
#[must_use]
pub(crate) fn retry() -> Bytes {
    let batch = include_str!("../../../events/sqs-batch.json");
    let mut batch: serde_json::Value = serde_json::from_str(batch).unwrap_or_default();
    if let Some(records) = batch["Records"].as_array_mut() {
        records.truncate(1);
        for record in records {
            let message = record["body"].as_str().unwrap_or_default();
            record["body"] = message.replace("msg_format_1", &format!("msg_{:x}", unique_number())).into();
        }
    }
    Bytes::from(batch.to_string())
}

/// A Lambda event for a delivery.
#[must_use]
pub(crate) fn invocation(delivery: &Delivery) -> Bytes {
    Bytes::from(delivery.to_lambda_event().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_unique_and_have_the_requested_size() {
        for (bytes, times) in [(1_000, 50), (3_000, 50), (20_000, 5), (200_000, 1)] {
            for delivery in (0..times).flat_map(|_| [ada(bytes), report(bytes)]) {
                let off = delivery.body.len().abs_diff(bytes);
                assert!(off < 300, "{} bytes instead of {bytes}", delivery.body.len());
            }
        }
        assert_ne!(ada(1_000).body, ada(1_000).body);
        assert_ne!(report(3_000).body, report(3_000).body);
    }

    #[test]
    fn every_retried_event_is_different() {
        assert!(retry() != retry());
    }
}
