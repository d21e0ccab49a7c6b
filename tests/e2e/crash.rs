//! Every function is struck at every point where it talks to DynamoDB or SQS, in every way: killed, cut off, kept waiting,
//! refused. Then the stores are held to the invariants.
//!
//! A seed decides a case: which function, where, how, and with what events. A failing case prints the command that
//! replays it; `GATEHOUSE_SEEDS=<count>` plays more.

mod case;
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

/// How many cases are played at the same moment.
const AT_ONCE: usize = 8;
/// How a case says that nothing was struck: on a busy machine a function may run out of time before it gets there.
const MISSED: &str = "the blow missed";
/// How often such a case is tried.
const TRIES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_strikes_whichever_function_wherever_the_invariants_hold() {
    let seeds = gatehouse_seeds::seeds(u64::try_from(CASES.len()).unwrap());
    let failures: Vec<String> = stream::iter(seeds.clone())
        .map(|seed| async move {
            let case = Case::of(seed);
            let mut why = String::new();
            for _ in 0..TRIES {
                // A task of its own: a case that panics fails alone.
                why = match tokio::spawn(play(case.clone())).await {
                    Ok(Ok(())) => return None,
                    Ok(Err(why)) => why,
                    Err(panic) => panic.to_string(),
                };
                if !why.starts_with(MISSED) {
                    break;
                }
            }
            Some(format!("{case}: {why}\n{}", gatehouse_seeds::replay(seed)))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), seeds.count(), failures.join("\n"));
}

#[test]
fn every_function_is_struck_at_every_point_it_has_in_every_way() {
    let places: BTreeSet<_> = CASES.iter().map(|(f, point, _)| (format!("{f:?}"), format!("{point:?}"))).collect();
    let ways: BTreeSet<_> = CASES.iter().map(|(_, _, blow)| format!("{blow:?}")).collect();
    assert_eq!((places.len(), ways.len(), CASES.len()), (26, 10, 260));
}

async fn play(case: Case) -> Checked {
    match case.function {
        case::Function::EventRetry => retry::play(case).await,
        _ => front::play(case).await,
    }
}

/// Invokes the real binary, and kills it when the blow falls.
async fn kill_when(struck: impl Future<Output = ()>, mut host: Host, event: &Value) -> Checked {
    tokio::select! {
        answer = host.invoke(event) => return Err(format!("{MISSED}: answered before it, {answer:?}")),
        blow = timeout(Duration::from_secs(20), struck) => blow.map_err(|_| MISSED.to_owned())?,
    }
    host.kill().await.unwrap();
    Ok(())
}
