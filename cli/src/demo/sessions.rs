//! Demo steps about recording once: duplicates, conflicts, order, concurrency and large bodies.

use gatehouse_local::delivery::noise;
use gatehouse_local::{Delivery, Error};
use gatehouse_payload::Outcome;
use gatehouse_timeline::{State, fold};

use super::scene::Scene;
use super::vendors::{SESSION_CREATED, SESSION_ENDED};

const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;

pub(super) async fn duplicate(scene: &mut Scene) -> Result<(), Error> {
    let delivery = scene.ada("msg_demo_twice", MESSAGE)?;
    let first = scene.send("a message", &delivery).await?;
    scene.expect_recorded(&first, &delivery).await?;
    let second = scene.send("the same delivery again", &delivery).await?;
    scene.expect_outcome(&second, Outcome::Duplicate.as_str());
    Ok(())
}

pub(super) async fn conflict(scene: &mut Scene) -> Result<(), Error> {
    let body = |plan: &str| {
        format!(
            r#"{{"type":"v1.conversation.created","data":{{"conversation_id":"demo-conflict","metadata":{{"plan":"{plan}"}}}}}}"#
        )
    };
    let first = scene.ada("msg_demo_conflict", body("free"))?;
    let other = scene.ada("msg_demo_conflict", body("pro"))?;
    let answer = scene.send("a conversation", &first).await?;
    scene.expect_recorded(&answer, &first).await?;
    let answer = scene.send("the same id, another body", &other).await?;
    scene.expect_outcome(&answer, Outcome::Conflict.as_str());
    let records = scene.timeline("ada:conversation:demo-conflict").await?;
    let is_stored =
        |delivery: &Delivery, conflict| records.iter().any(|r| r.conflict == conflict && r.event.body == delivery.body);
    let are_stored = is_stored(&first, false) && is_stored(&other, true);
    scene.expect("the first body as the record, the other one as a conflict", are_stored);
    Ok(())
}

pub(super) async fn order(scene: &mut Scene) -> Result<(), Error> {
    let id = "7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3";
    for (session_id, created_first) in [("demo-end-first", false), ("demo-start-first", true)] {
        let created = scene.agntix(&format!("{session_id}-1"), SESSION_CREATED.replace(id, session_id))?;
        let ended = scene.agntix(&format!("{session_id}-2"), SESSION_ENDED.replace(id, session_id))?;
        let mut deliveries = [("session.created", created), ("session.ended", ended)];
        if !created_first {
            deliveries.reverse();
        }
        for (label, delivery) in &deliveries {
            let answer = scene.send(label, delivery).await?;
            scene.expect_recorded(&answer, delivery).await?;
        }
        let session = fold(&scene.timeline(&format!("agntix:session:{session_id}")).await?);
        let is_closed =
            session.state == State::Closed && session.analysis.is_some_and(|a| a.contains("berth_confirmed"));
        scene.expect("a CLOSED session with its analysis", is_closed && session.started_at.is_some());
    }
    Ok(())
}

pub(super) async fn at_once(scene: &mut Scene) -> Result<(), Error> {
    let delivery = scene.ada("msg_demo_ten", MESSAGE)?;
    let answers = scene.send_at_once("one of ten", &delivery, 10).await?;
    let count =
        |outcome: Outcome| answers.iter().filter(|a| a.status == 200 && a.outcome() == outcome.as_str()).count();
    let (recorded, duplicates) = (count(Outcome::Recorded), count(Outcome::Duplicate));
    scene.expect("one recorded, nine duplicates", (recorded, duplicates) == (1, 9));
    Ok(())
}

pub(super) async fn large(scene: &mut Scene) -> Result<(), Error> {
    let body = format!(
        r#"{{"type":"v1.conversation.message","data":{{"conversation_id":"demo-large","noise":"{}"}}}}"#,
        noise(1, 1_500_000)
    );
    let delivery = scene.ada("msg_demo_large", body)?;
    let answer = scene.send("1.5 MB that hardly compresses", &delivery).await?;
    scene.expect_recorded(&answer, &delivery).await?;
    Ok(())
}
