//! Injects every fault into every function at every request that it makes to DynamoDB or SQS: the process is killed, or
//! the request is cut off, delayed or refused. Then checks the invariants on the stored data.
//!
//! A seed determines a case: the function, the request, the fault and the events. A failing case prints the command
//! that replays it. `GATEHOUSE_SEEDS=<count>` runs more cases.

mod case;
mod deliveries;
mod front;
mod invariants;
mod retry;

use std::collections::BTreeSet;
use std::time::Duration;

use case::{CASES, Case};
use futures_util::stream::{self, StreamExt};
use gatehouse_local::runtime_api::Host;
use invariants::Checked;
use serde_json::Value;
use tokio::time::timeout;

/// Number of cases that run concurrently.
const CONCURRENCY: usize = 8;
/// Error of a case whose fault was not reached. On a busy machine, the deadline of a function may pass before it makes
/// the request.
const FAULT_NOT_REACHED: &str = "the fault was not reached";
/// Number of attempts at a case whose fault is not reached.
const ATTEMPTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn invariants_hold_after_every_injected_fault() {
    let seeds = gatehouse_seeds::seeds(u64::try_from(CASES.len()).unwrap());
    let failures: Vec<String> = stream::iter(seeds.clone())
        .map(|seed| async move {
            let case = Case::of(seed);
            let mut error = String::new();
            for _ in 0..ATTEMPTS {
                // Each case runs in its own task, so that a panic fails only this case.
                error = match tokio::spawn(run(case.clone())).await {
                    Ok(Ok(())) => return None,
                    Ok(Err(error)) => error,
                    Err(panic) => panic.to_string(),
                };
                if !error.starts_with(FAULT_NOT_REACHED) {
                    break;
                }
            }
            Some(format!("{case}: {error}\n{}", gatehouse_seeds::replay(seed)))
        })
        .buffer_unordered(CONCURRENCY)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), seeds.count(), failures.join("\n"));
}

#[test]
fn crash_cases_cover_every_function_point_and_fault() {
    let points: BTreeSet<_> = CASES.iter().map(|(f, point, _)| (format!("{f:?}"), format!("{point:?}"))).collect();
    let failures: BTreeSet<_> = CASES.iter().map(|(_, _, failure)| format!("{failure:?}")).collect();
    assert_eq!((points.len(), failures.len(), CASES.len()), (26, 10, 260));
}

async fn run(case: Case) -> Checked {
    match case.function {
        case::Function::EventRetry => retry::run(case).await,
        _ => front::run(case).await,
    }
}

/// Invokes the binary and kills it when the fault is reached.
async fn kill_when(fault_reached: impl Future<Output = ()>, mut host: Host, event: &Value) -> Checked {
    tokio::select! {
        answer = host.invoke(event) => {
            return Err(format!("{FAULT_NOT_REACHED}: the function answered first, {answer:?}"));
        }
        reached = timeout(Duration::from_secs(20), fault_reached) => reached.map_err(|_| FAULT_NOT_REACHED.to_owned())?,
    }
    host.kill().await.unwrap();
    Ok(())
}
