//! Demo steps whose requests are refused.

use gatehouse_local::{Delivery, Error};
use gatehouse_vapi::Vapi;

use super::scene::Scene;

const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;

/// Part of the detail in 401 responses, which refer to the log for the reason.
const LOG: &str = "log";

fn message(scene: &Scene) -> Result<Delivery, Error> {
    scene.ada("msg_demo_refused", MESSAGE)
}

pub(super) async fn unverified(scene: &mut Scene) -> Result<(), Error> {
    let forged = message(scene)?;
    let forged = forged.clone().with_body([&forged.body[..], b" "].concat());
    scene.refuse("a body changed after signing", &forged, 401, LOG).await?;
    let stale = scene.ada_at("msg_demo_refused", MESSAGE, Scene::now().plus_secs(-301))?;
    scene.refuse("signed 301 seconds ago", &stale, 401, LOG).await?;
    let early = scene.ada_at("msg_demo_refused", MESSAGE, Scene::now().plus_secs(310))?;
    scene.refuse("signed 310 seconds in the future", &early, 401, LOG).await?;
    scene.refuse("without svix-id", &message(scene)?.without_header("svix-id"), 401, LOG).await?;
    let unsigned =
        message(scene)?.without_header("svix-id").without_header("svix-timestamp").without_header("svix-signature");
    scene.refuse("without any Svix header", &unsigned, 401, LOG).await?;
    let vapi = scene.vapi(Vapi::CLIENT, r#"{"message":{"type":"hang"}}"#)?;
    scene.refuse("Vapi without a token", &vapi.clone().without_header("authorization"), 401, LOG).await?;
    scene.refuse("Vapi with a wrong token", &vapi.with_header("authorization", "Bearer guessed"), 401, LOG).await?;
    let stored = scene.record("ada:msg_demo_refused").await?;
    scene.expect("no event in the table", stored.is_none());
    Ok(())
}

pub(super) async fn not_json(scene: &mut Scene) -> Result<(), Error> {
    for (label, body, detail_part) in [
        ("broken JSON", r#"{"type":"v1.conversation.message",,"#, "line 1"),
        ("an array", "[1,2]", "an array"),
        ("an empty body", "", "complete"),
    ] {
        let delivery = scene.ada("msg_demo_refused", body)?;
        scene.refuse(label, &delivery, 400, detail_part).await?;
    }
    Ok(())
}

pub(super) async fn wrong_request(scene: &mut Scene) -> Result<(), Error> {
    scene.refuse("GET", &Delivery { method: "GET".to_owned(), ..message(scene)? }, 405, "POST").await?;
    scene
        .refuse("another path", &Delivery { path: "hooks".to_owned(), ..message(scene)? }, 404, "send the request to /")
        .await?;
    let form = message(scene)?.with_header("content-type", "application/x-www-form-urlencoded");
    scene.refuse("a form", &form, 415, "application/json").await?;
    Ok(())
}
