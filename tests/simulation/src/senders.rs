//! Vendors: they sign events, deliver them late, twice and in disorder, and retry as documented or not at all.

use bytes::Bytes;
use gatehouse_vendor::Source;
use gatehouse_vendors::SOURCES;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::fleet::Fleet;
use crate::model::Delivered;
use crate::network::{Caller, Target};
use crate::plan::{Action, Deliver, EventSpec, Function, Ms, Service, Signer, Variant};
use crate::world::{START, World};

/// The pauses before the retries of Svix, which Ada and agntix use. In milliseconds.
const SVIX_RETRIES: [Ms; 7] = [5000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000];
/// The pauses before the retries of a Vapi server with a backoff plan.
const VAPI_RETRIES: [Ms; 3] = [1000, 2000, 4000];
/// How long vendors wait for an answer.
const VENDOR_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// Delivers an event, and retries.
pub async fn deliver(world: World, fleet: Fleet, action: Action, deliver: Deliver) {
    let attempts = if deliver.is_doubled { 2 } else { 1 };
    let twins = (0..attempts).map(|twin| deliver_copy(&world, &fleet, action.n, deliver, twin));
    futures_util::future::join_all(twins).await;
}

async fn deliver_copy(world: &World, fleet: &Fleet, action: usize, deliver: Deliver, twin: u64) {
    let spec = world.state().plan.events[deliver.event];
    let source = SOURCES[spec.source];
    let retries: &[Ms] = match (deliver.retries, source.profile().vendor) {
        (false, _) => &[],
        (true, "vapi") => &VAPI_RETRIES,
        (true, _) => &SVIX_RETRIES,
    };
    for attempt in 0..=retries.len() {
        let is_accepted = attempt_delivery(world, fleet, action, deliver, spec, attempt as u64 * 2 + twin).await;
        match retries.get(attempt) {
            Some(pause) if !is_accepted => world.wait(*pause).await,
            _ => return,
        }
    }
}

/// Delivers an event once.
pub async fn deliver_once(world: &World, fleet: &Fleet, action: usize, deliver: Deliver) {
    let spec = world.state().plan.events[deliver.event];
    attempt_delivery(world, fleet, action, deliver, spec, 0).await;
}

/// Delivers once. Returns whether the vendor got a 2xx.
async fn attempt_delivery(
    world: &World,
    fleet: &Fleet,
    action: usize,
    deliver: Deliver,
    spec: EventSpec,
    attempt: u64,
) -> bool {
    let source = SOURCES[spec.source];
    // A bearer secret does not cover the body, so that nobody can notice a change.
    let signer = match deliver.signer {
        Signer::Tampered if source.profile().vendor == "vapi" => Signer::WrongSecret,
        signer => signer,
    };
    let body = |is_forged| body(world.state().plan.seed, spec, deliver.event, deliver.variant, is_forged);
    let signed = body(signer == Signer::WrongSecret);
    let body = if signer == Signer::Tampered { body(true) } else { signed.clone() };
    let message_id = format!("msg_{}", deliver.event);
    let now = world.time();
    let removed_at = world.state().keys.removed_at(source.profile().secrets.name);
    if deliver.signer == Signer::RemovedSecret && removed_at.is_none() {
        return true;
    }
    let headers = world.state().keys.sign(source, &message_id, signed.as_bytes(), now, signer);
    let mut request = Request::post(source.profile().paths.first().copied().unwrap_or("/"));
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Bytes::from(body)) else { return false };
    let Some(function) = Function::named(source.profile().function) else { return false };
    {
        let now = world.epoch_ms();
        let mut state = world.state();
        state.stats.deliveries += 1;
        state.model.sends(deliver.event, now);
    }
    let delivered = Delivered { deliver, instance: 0, removed_at, began_at: 0, is_undisturbed: false };
    let caller = Caller::Outside(action, attempt);
    let about = Target::named(format_args!("event {} {:?}", deliver.event, deliver.variant));
    let exchange = exchange(world, fleet, caller, function, &about, request, &delivered);
    let status = timeout(VENDOR_TIMEOUT, exchange).await.ok().flatten();
    status.is_some_and(|status| (200..300).contains(&status))
}

/// Carries a delivery to its function and the response back. `None` if there is no response.
async fn exchange(
    world: &World,
    fleet: &Fleet,
    caller: Caller,
    function: Function,
    about: &Target,
    request: Request<Bytes>,
    delivered: &Delivered,
) -> Option<u16> {
    let (reach, reached) = tokio::sync::oneshot::channel();
    // The function handles the request even if the sender has stopped waiting.
    let (world_of_function, fleet, delivered, name) = (world.clone(), fleet.clone(), *delivered, about.clone());
    let handling = tokio::task::spawn_local(async move {
        let is_reached: Result<(), _> = reached.await;
        is_reached.ok()?;
        let world = world_of_function;
        world.note(format_args!("{caller} -> {function} {name}"));
        let (instance, response) = fleet.deliver(function, request).await?;
        let is_undisturbed = world.is_undisturbed(instance);
        let began_at = world.began_at(instance);
        let delivered = Delivered { instance, began_at, is_undisturbed, ..delivered };
        match &response {
            None => world.note(format_args!("{caller} <- {function} {name}: no response")),
            Some(response) => {
                world.note(format_args!(
                    "{caller} <- {function} {name}: {} {}",
                    response.status().as_u16(),
                    header(response, "gatehouse-outcome").unwrap_or("-")
                ));
                let now = world.epoch_ms();
                let checked = {
                    let mut state = world.state();
                    state.check_response(&delivered, response, now)
                };
                world.check(checked);
            }
        }
        response.map(|response| response.status().as_u16())
    });
    let apply = |_: &World| {
        // The task waits for this, so sending cannot fail.
        let _ = reach.send(());
    };
    let sent = world.carry(caller, Service::Gatehouse, "POST", about, apply, |_| ()).await;
    sent.ok()?;
    handling.await.ok().flatten()
}

/// Returns a header of a response.
fn header<'r, B>(response: &'r Response<B>, name: &str) -> Option<&'r str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Returns the body of an event. Its marker names the event and the variant; the marker is private.
#[must_use]
pub fn body(seed: u64, spec: EventSpec, event: usize, variant: Variant, is_forged: bool) -> String {
    let source: &dyn Source = SOURCES[spec.source];
    let sample = source.samples()[spec.sample];
    let at =
        gatehouse_payload::time::Timestamp::clamped(START - 60_000 + i64::try_from(event).unwrap_or_default() * 1000);
    let id = subject_id(seed, spec);
    let mut body: Value = serde_json::from_str(&sample.fresh(&id, at)).unwrap_or_default();
    let marker = if is_forged { marker(event, variant).replace("PRIVATE", "FORGED") } else { marker(event, variant) };
    let root = if body.get("message").is_some() { &mut body["message"] } else { &mut body };
    root["marker"] = json!(marker);
    if root.get("call").is_some() {
        root["call"]["monitor"] = json!({"controlUrl": format!("https://control.vapi.ai/control/{marker}")});
    }
    if spec.is_undated
        && let Some(root) = root.as_object_mut()
    {
        root.remove("timestamp");
    }
    if spec.large {
        root["noise"] = json!(noise(seed, 620_000));
    }
    body.to_string()
}

/// Returns the id of the subject of an event, as the vendor names it.
#[must_use]
pub fn subject_id(seed: u64, spec: EventSpec) -> String {
    format!("s{}-{}-{}", seed % 100_000, spec.source, spec.subject)
}

/// Returns the marker in the body of an event.
#[must_use]
pub fn marker(event: usize, variant: Variant) -> String {
    format!("PRIVATE-{event}-{variant:?}-")
}

/// Returns text that hardly compresses.
fn noise(seed: u64, length: usize) -> String {
    let mut chance = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| chance.alphanumeric()).collect()
}
