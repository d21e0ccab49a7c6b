//! What is refused, and how.

use gatehouse_local::{Delivery, Error};

use super::scene::Scene;

const MESSAGE: &str = include_str!("../../../tests/fixtures/ada/conversation-message.json");

/// Whoever is not verified is not told why.
const LOG: &str = "the function's log says";

fn message() -> Delivery {
    Delivery::ada("msg_demo_refused", MESSAGE, Scene::now())
}

pub(super) async fn unverified(scene: &mut Scene) -> Result<(), Error> {
    let forged = message().with_body(MESSAGE.replace("Friday", "Monday"));
    scene.refuse("a body changed on the way", &forged, 401, LOG).await?;
    let stale = Delivery::ada("msg_demo_refused", MESSAGE, Scene::now().plus_secs(-301));
    scene.refuse("signed 301 seconds ago", &stale, 401, LOG).await?;
    let early = Delivery::ada("msg_demo_refused", MESSAGE, Scene::now().plus_secs(310));
    scene.refuse("signed 310 seconds from now", &early, 401, LOG).await?;
    scene.refuse("without svix-id", &message().without_header("svix-id"), 401, LOG).await?;
    let bare = message().without_header("svix-id").without_header("svix-timestamp").without_header("svix-signature");
    scene.refuse("without any of the headers", &bare, 401, LOG).await?;
    let vapi = Delivery::vapi_client(r#"{"message":{"type":"hang"}}"#);
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
        let delivery = Delivery::ada("msg_demo_refused", body, Scene::now());
        scene.refuse(label, &delivery, 400, naming).await?;
    }
    Ok(())
}

pub(super) async fn wrong_request(scene: &mut Scene) -> Result<(), Error> {
    scene.refuse("GET", &Delivery { method: "GET".to_owned(), ..message() }, 405, "POST").await?;
    scene.refuse("another path", &Delivery { path: "hooks".to_owned(), ..message() }, 404, "POST /").await?;
    let form = message().with_header("content-type", "application/x-www-form-urlencoded");
    scene.refuse("a form", &form, 415, "application/json").await?;
    Ok(())
}
