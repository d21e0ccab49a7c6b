//! Operator commands as functions.
//!
//! They take the same steps as the commands, but read no terminal, signal, file or environment variable, and print
//! nothing. Their time is the deployment's clock and tokio's.

use std::collections::BTreeSet;
use std::time::Duration;

use gatehouse_payload::Subject;

use crate::ops::console::Console;
use crate::ops::dead_letters::SelectionArgs;
use crate::ops::dead_letters::redrive::unattended;
use crate::ops::erase::erase_all;

pub use crate::ops::dead_letters::ErasedDeadLetters;
pub use crate::ops::dead_letters::redrive::MoveEnd;
pub use crate::ops::dead_letters::redrive::unattended::{RedriveResult, RedrivenLetter};
pub use crate::ops::deployment::{Deployment, Parts, Queues};
pub use crate::ops::erase::ErasureResult;
pub use gatehouse_inbox::store::erase::Removed;
pub use gatehouse_local::Error;

/// The dead letters that a redrive selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All dead letters. SQS moves them.
    All,
    /// The dead letters of these events or messages. They are moved one by one.
    Ids(Vec<String>),
}

/// Moves dead letters to the retry queue, waits for at most `wait` until they are recorded, and reads their outcomes.
///
/// This function works like `gatehouse dead-letters redrive`. `rate` is the maximum number of moves per second.
///
/// # Errors
/// If nothing is selected or the rate is invalid, if another command holds the dead letters, or if they or their
/// outcomes cannot be read. A failure of the move itself is [`MoveEnd::Failed`].
pub async fn redrive(
    deployment: &Deployment,
    selection: Selection,
    rate: Option<f64>,
    wait: Duration,
) -> Result<RedriveResult, Error> {
    let selection = match selection {
        Selection::All => SelectionArgs::all(),
        Selection::Ids(ids) => SelectionArgs::ids(ids),
    };
    unattended::redrive(deployment, &selection, rate, wait).await
}

/// Permanently erases the events and dead letters of `subjects`, like `gatehouse events erase --yes`.
///
/// The command fails after the erasure if another command holds dead letters. This function returns their number in
/// [`ErasedDeadLetters::held_elsewhere`].
///
/// # Errors
/// If DynamoDB or SQS fails. The call may be repeated.
pub async fn erase(deployment: &Deployment, subjects: &BTreeSet<Subject>) -> Result<ErasureResult, Error> {
    erase_all(deployment, subjects, Console::Detached).await
}

#[cfg(test)]
mod tests {
    use aws_config::SdkConfig;
    use gatehouse_runtime::{Clock, Random};

    use super::*;

    #[tokio::test]
    async fn redrive_with_invalid_arguments_sends_no_request() {
        let sdk = SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::v2026_01_12()).build();
        let queues = Queues { retry: "http://retry".to_owned(), dead_letter: "http://dead".to_owned() };
        let (dynamodb, table) = (sdk.clone(), "events".to_owned());
        let (queues, delivery_table, clock, random) = (Some(queues), None, Clock::System, Random::System);
        let parts = Parts { dynamodb, sqs: sdk, table, queues, delivery_table, clock, random, ttl_days: 90 };
        let deployment = Deployment::new(parts);
        let one = || Selection::Ids(vec!["ada:msg_1".to_owned()]);
        let invalid = [
            (Selection::Ids(Vec::new()), None, "no dead letters are selected"),
            (Selection::All, Some(501.0), "at most 500"),
            (one(), Some(0.0), "rate"),
            (one(), Some(f64::NAN), "rate"),
        ];
        for (selection, rate, expected) in invalid {
            let error = redrive(&deployment, selection, rate, Duration::ZERO).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
