//! Fuzzes verification: a delivery is accepted only if the vendor signed it.

use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::Unverified;

use super::delivery::Delivery;

/// Verifies the delivery and checks the result.
pub fn check(input: &[u8]) {
    let now = Timestamp::clamped(1_795_000_000_000);
    let Some(delivery) = Delivery::read(input, now) else { return };
    let request = &delivery.request;
    let unverified = Unverified::new(request.method(), request.headers(), request.body());
    let secrets = delivery.scheme.secrets();
    let verified = secrets.of(delivery.scheme.source).expect("the source has a part").verify(unverified, now);
    // Some schemes also sign the method. The line `sign` adds a signature for POST.
    let is_post = request.method() == http::Method::POST;
    if delivery.is_as_signed() && is_post {
        assert!(verified.is_ok(), "a signed delivery is refused: {verified:?}");
    } else if delivery.signature.is_some() && is_post {
        assert!(verified.is_err(), "a delivery with a repeated header is accepted");
    } else if delivery.signature.is_none() && (delivery.scheme.signs || !has_valid_token(&delivery)) {
        assert!(verified.is_err(), "an unsigned delivery is accepted");
    }
}

/// Whether the delivery has a valid bearer token. A seed can contain a token, but no valid signature.
fn has_valid_token(delivery: &Delivery) -> bool {
    let mut values = delivery.request.headers().get_all("authorization").iter();
    values.any(|value| value.as_bytes().ends_with(b"fuzzed-token-of-vapi"))
}
