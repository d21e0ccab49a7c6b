//! Demo steps with a chat client and an agent.

use bytes::Bytes;
use gatehouse_local::delivery::{Delivery, secret_of};
use gatehouse_local::{Answer, Error};
use serde_json::{Value, json};

use super::scene::Scene;

fn request(scene: &Scene, agent: &str, text: &str) -> Delivery {
    let id = format!("m1{}", scene.sentinel.as_deref().unwrap_or_default());
    let message = json!({"id": id, "role": "user", "content": text});
    let body = match agent {
        "ag-ui" => json!({"threadId": "demo", "runId": "r1", "messages": [message]}),
        _ => json!({"conversationId": "demo", "messages": [message]}),
    };
    let token = format!("Bearer {}", secret_of(&scene.document, "/agent_chat/clients/0/token"));
    scene.with_sentinel(Delivery {
        function: "agent-chat".to_owned(),
        path: format!("v1/aibot/bots/{agent}/send-message"),
        method: "POST".to_owned(),
        headers: vec![("authorization".to_owned(), token), ("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from(body.to_string()),
    })
}

fn events(answer: &Answer) -> Vec<&str> {
    answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

pub(super) async fn turns(scene: &mut Scene) -> Result<(), Error> {
    for (agent, end) in [("ag-kit", "[DONE]"), ("ag-ui", "RUN_FINISHED")] {
        let answer = scene.send(&format!("a question, in {agent}"), &request(scene, agent, "Hello")).await?;
        let events = events(&answer);
        let is_complete =
            answer.status == 200 && events.len() > 2 && events.last().is_some_and(|last| last.contains(end));
        scene.expect(&format!("200 and events, the last of them {end}"), is_complete);
        let record = scene.record(&format!("chat:{}", answer.header("gatehouse-turn-id"))).await?;
        let body: Option<Value> = record.and_then(|record| serde_json::from_slice(&record.event.body).ok());
        let is_recorded = body.is_some_and(|turn| turn["end"] == "completed" && turn["answer"] == answer.body.as_str());
        scene.expect("the turn in the table, with the answer byte for byte", is_recorded);
    }
    let keyed = |scene: &Scene, body: &str| request(scene, "ag-kit", body).with_header("idempotency-key", "demo-1");
    let first = scene.send("a question with an Idempotency-Key", &keyed(scene, "Hello once")).await?;
    let again = scene.send("the same question again", &keyed(scene, "Hello once")).await?;
    let is_replayed = again.header("idempotency-replayed") == "true" && again.body == first.body && first.status == 200;
    scene.expect("the same answer, without asking the agent", is_replayed);
    let other = scene.send("another question with that key", &keyed(scene, "Hello twice")).await?;
    scene.expect("422: an idempotency key belongs to one request", other.status == 422);
    let answer = scene.send("an agent that drops the connection", &request(scene, "ag-kit", "cut")).await?;
    let last = events(&answer).last().copied().unwrap_or_default().to_owned();
    let has_error = answer.status == 200 && last.contains("\"type\":\"error\"") && !answer.body.contains("[DONE]");
    scene.expect("an error event as the last one, and no end mark", has_error);
    let answer = scene.send("an agent that fails at once", &request(scene, "ag-kit", "error")).await?;
    scene.expect("502, and no stream", answer.status == 502);
    Ok(())
}
