//! Nobody gets in but by what his vendor signed; and what the vendor signed gets in.

use gatehouse_edge::scheme::Parts;
use gatehouse_payload::time::Timestamp;

use super::delivery::Delivery;

/// Verifies the delivery.
pub fn holds(input: &[u8]) {
    let now = Timestamp::clamped(1_795_000_000_000);
    let Some(delivery) = Delivery::read(input, now) else { return };
    let request = &delivery.request;
    let parts = Parts { method: request.method(), headers: request.headers(), body: request.body() };
    let verified = delivery.way.endpoint.source.verify(parts, &delivery.way.secrets(), now);
    // A method may be signed too, and a header of the other set may be there beside what is signed.
    let is_post = request.method() == http::Method::POST;
    if delivery.is_as_signed() && is_post {
        assert!(verified.is_ok(), "what is signed is refused: {verified:?}");
    } else if delivery.signature.is_some() && is_post {
        assert!(verified.is_err(), "a header that stands twice is taken");
    } else if delivery.signature.is_none() && (delivery.way.signs || !holds_the_token(&delivery)) {
        assert!(verified.is_err(), "what nobody signed gets in");
    }
}

/// A token, unlike a signature, may be in a seed.
fn holds_the_token(delivery: &Delivery) -> bool {
    let mut values = delivery.request.headers().get_all("authorization").iter();
    values.any(|value| value.as_bytes().ends_with(b"fuzzed-token-of-vapi"))
}
