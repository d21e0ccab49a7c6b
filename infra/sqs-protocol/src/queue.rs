//! Names and ARNs of queues.

use crate::attributes::{self, Attributes, RedrivePolicy};
use crate::error::{Kind, Result, SqsError};

/// Returns the ARN of a queue.
#[must_use]
pub fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
}

/// Returns the name of the queue with this ARN.
#[must_use]
pub fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

/// Checks the name of a new queue.
///
/// # Errors
/// If SQS would not accept it.
pub fn check_name(name: &str) -> Result<()> {
    if name.ends_with(".fifo") {
        return Err(SqsError::new(Kind::UNSUPPORTED_OPERATION, crate::NO_FIFO));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(valid) {
        return Err(SqsError::invalid(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    Ok(())
}

/// Checks the attributes of a request. `exists` says whether there is a queue of a name.
///
/// # Errors
/// If an attribute is not valid, or the queue of a redrive policy does not exist.
pub fn check_attributes<E: From<SqsError>>(
    requested: &Attributes,
    exists: impl FnOnce(&str) -> std::result::Result<bool, E>,
) -> std::result::Result<(), E> {
    attributes::validate(requested)?;
    if let Some(policy) = RedrivePolicy::of(requested) {
        let name = name_of(&policy.target_arn);
        if arn(name) != policy.target_arn || !exists(name)? {
            return Err(E::from(SqsError::invalid(format!(
                "Value for parameter RedrivePolicy is invalid. Reason: Dead letter target {} does not exist.",
                policy.target_arn
            ))));
        }
    }
    Ok(())
}

/// Returns the error for a queue that does not exist.
#[must_use]
pub fn does_not_exist(queue: &str) -> SqsError {
    SqsError::new(Kind::QUEUE_DOES_NOT_EXIST, format!("The specified queue does not exist: {queue:?}."))
}

/// Returns the message id of a receipt handle: `<queue>:<message id>:<suffix>`.
///
/// # Errors
/// If the handle belongs to another queue.
pub fn message_id_of<'h>(queue: &str, handle: &'h str) -> Result<&'h str> {
    let mut parts = handle.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(id), Some(_), None) if name == queue => Ok(id),
        _ => Err(SqsError::new(Kind::RECEIPT_HANDLE_IS_INVALID, "The receipt handle does not belong to this queue.")),
    }
}

/// Returns the attributes that a `GetQueueAttributes` request names: set ones, defaults, and the values of
/// [`attributes::COMPUTED`].
///
/// # Errors
/// If the request names an unknown attribute.
pub fn named_attributes(names: &[String], set: &Attributes, computed: [String; 6]) -> Result<Attributes> {
    if let Some(unknown) = names.iter().find(|name| *name != "All" && !attributes::is_known(name)) {
        return Err(SqsError::new(Kind::INVALID_ATTRIBUTE_NAME, format!("Unknown Attribute {unknown}.")));
    }
    let mut named = attributes::with_defaults(set);
    named.extend(attributes::COMPUTED.map(str::to_owned).into_iter().zip(computed));
    named.retain(|attribute, _| names.iter().any(|name| name == "All" || name == attribute));
    Ok(named)
}

/// Checks that a repeated `CreateQueue` request has the attributes of the existing queue.
///
/// # Errors
/// If one differs.
pub fn check_same(set: &Attributes, requested: &Attributes) -> Result<()> {
    let current = attributes::with_defaults(set);
    match requested.iter().find(|(name, value)| current.get(*name) != Some(value)) {
        None => Ok(()),
        Some((attribute, _)) => Err(SqsError::new(
            Kind::QUEUE_NAME_EXISTS,
            format!("A queue already exists with the same name and a different value for attribute {attribute}"),
        )),
    }
}
