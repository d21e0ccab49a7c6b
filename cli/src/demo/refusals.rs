//! What is refused, and how.

use gatehouse_local::delivery::Sender;
use gatehouse_local::{Delivery, Error};

use super::scene::Scene;

const MESSAGE: &str = include_str!("../../../tests/fixtures/ada/conversation-message.json");

/// Whoever is not verified is not told why.
const LOG: &str = "the function's log says";

fn message(scene: &Scene) -> Result<Delivery, Error> {
    scene.ada("msg_demo_refused", MESSAGE)
}

pub(super) async fn unverified(scene: &mut Scene) -> Result<(), Error> {
    let forged = message(scene)?;
    let forged = forged.clone().with_body([&forged.body[..], b" "].concat());
    scene.refuse("a body changed on the way", &forged, 401, LOG).await?;
    let stale = scene.ada_at("msg_demo_refused", MESSAGE, Scene::now().plus_secs(-301))?;
    scene.refuse("signed 301 seconds ago", &stale, 401, LOG).await?;
    let early = scene.ada_at("msg_demo_refused", MESSAGE, Scene::now().plus_secs(310))?;
    scene.refuse("signed 310 seconds from now", &early, 401, LOG).await?;
    scene.refuse("without svix-id", &message(scene)?.without_header("svix-id"), 401, LOG).await?;
    let bare =
        message(scene)?.without_header("svix-id").without_header("svix-timestamp").without_header("svix-signature");
    scene.refuse("without any of the headers", &bare, 401, LOG).await?;
    let vapi = scene.vapi(Sender::VapiClient, r#"{"message":{"type":"hang"}}"#)?;
    scene.refuse("Vapi without a token", &vapi.clone().without_header("authorization"), 401, LOG).await?;
    scene.refuse("Vapi with another token", &vapi.with_header("authorization", "Bearer guessed"), 401, LOG).await?;
    let stored = scene.record("ada:msg_demo_refused").await?;
    scene.expect("nothing of it in the table", stored.is_none());
    Ok(())
}

pub(super) async fn not_json(scene: &mut Scene) -> Result<(), Error> {
    for (label, body, naming) in [
        ("broken JSON", r#"{"type":"v1.conversation.message",,"#, "line 1"),
        ("an array", "[1,2]", "an array"),
        ("nothing", "", "complete"),
    ] {
        let delivery = scene.ada("msg_demo_refused", body)?;
        scene.refuse(label, &delivery, 400, naming).await?;
    }
    Ok(())
}

pub(super) async fn wrong_request(scene: &mut Scene) -> Result<(), Error> {
    scene.refuse("GET", &Delivery { method: "GET".to_owned(), ..message(scene)? }, 405, "POST").await?;
    scene.refuse("another path", &Delivery { path: "hooks".to_owned(), ..message(scene)? }, 404, "POST /").await?;
    let form = message(scene)?.with_header("content-type", "application/x-www-form-urlencoded");
    scene.refuse("a form", &form, 415, "application/json").await?;
    Ok(())
}
