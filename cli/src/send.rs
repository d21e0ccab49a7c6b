//! `gatehouse send`: signs and posts, once or as a load.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gatehouse_local::{Answer, Error};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::vendor::DeliveryArguments;
use gatehouse_local::delivery::Client;

pub(crate) const EXAMPLES: &str = "\
Each repetition has a message id of its own, so that Ada's are new events; agntix and Vapi name their events in the body,
so that one body sent again is a duplicate.

Examples:
  gatehouse send ada                                 an example, to `gatehouse dev`
  gatehouse send vapi-client body.json
  gatehouse send ada body.json --to https://….lambda-url.us-east-1.on.aws/ --secret whsec_…
  gatehouse send ada --repeat 10000 --concurrency 16 as fast as it goes
  gatehouse send ada --repeat 600 --rate 10/s        for a minute";

/// Longer than any function takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    delivery: DeliveryArguments,
    /// How many times
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// At most so many a second, such as 10/s [default: as fast as the answers come]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// At most so many at the same moment
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    number
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "give a number a second, such as 10/s".to_owned())
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let Arguments { delivery, repeat, rate, concurrency } = arguments;
    let (secrets, body, url) = (delivery.secrets()?, delivery.body()?, delivery.url());
    let client = Client::new(&url)?;
    if repeat == 1 {
        let answer = post(&client, &delivery.sign(&secrets, &delivery.message_id()?, &body)?).await;
        let answer = answer.map_err(|error| unreachable(&url, &error))?;
        println!("{} {}", answer.status, line(&answer));
        return Ok((200..300).contains(&answer.status));
    }

    let bar = progress(repeat);
    let first_id = delivery.message_id()?;
    let (started, mut tally) = (Instant::now(), Tally::default());
    let mut running: JoinSet<Result<Answer, String>> = JoinSet::new();
    let client = Arc::new(client);
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    for n in 0..repeat {
        let due = rate.map_or(started, |rate| started + Duration::from_secs_f64(as_f64(n) / rate));
        let full = running.len() >= usize::from(concurrency);
        tokio::select! {
            () = room(&mut running, full, due, &mut tally, &bar) => {}
            _ = &mut stop => break,
        }
        let message_id = if n == 0 { first_id.clone() } else { format!("{first_id}_{n}") };
        let signed = delivery.sign(&secrets, &message_id, &body)?;
        let client = Arc::clone(&client);
        running.spawn(async move { post(&client, &signed).await });
    }
    while let Some(answer) = running.join_next().await {
        tally.take(answer?, &bar);
    }
    bar.finish_and_clear();
    tally.print(started.elapsed(), &url);
    Ok(tally.good)
}

/// Waits until one more may be sent: for a place, and for its time.
async fn room(
    running: &mut JoinSet<Result<Answer, String>>,
    full: bool,
    due: Instant,
    tally: &mut Tally,
    bar: &ProgressBar,
) {
    if full && let Some(Ok(answer)) = running.join_next().await {
        tally.take(answer, bar);
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => return,
            Some(Ok(answer)) = running.join_next() => tally.take(answer, bar),
        }
    }
}

async fn post(client: &Client, delivery: &gatehouse_local::Delivery) -> Result<Answer, String> {
    match timeout(PATIENCE, client.send(delivery)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(innermost(&*error)),
        Err(_) => Err(format!("none within {} s", PATIENCE.as_secs())),
    }
}

/// The cause at the bottom: the ones above it say "client error".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn unreachable(url: &str, error: &str) -> String {
    let hint = if url.starts_with("http://127.0.0.1:") { "; is `gatehouse dev` running?" } else { "" };
    format!("no answer from {url}: {error}{hint}")
}

/// Outcome, event id, and what a refusal says.
fn line(answer: &Answer) -> String {
    let detail = serde_json::from_str::<Value>(&answer.body).ok();
    let detail = detail.as_ref().and_then(|problem| problem["detail"].as_str());
    let detail = detail.unwrap_or_else(|| if answer.outcome().is_empty() { answer.body.trim() } else { "" });
    let words =
        [answer.outcome(), answer.event_id(), detail, &format!("{} ms", answer.took.as_millis())].map(str::to_owned);
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  ")
}

#[derive(Debug)]
struct Tally {
    /// How often, and the first refusal's words, by status and outcome.
    answers: BTreeMap<String, (u64, Option<String>)>,
    times: Vec<Duration>,
    good: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { answers: BTreeMap::new(), times: Vec::new(), good: true }
    }
}

impl Tally {
    fn take(&mut self, answer: Result<Answer, String>, bar: &ProgressBar) {
        let (kind, words) = match answer {
            Ok(answer) => {
                self.times.push(answer.took);
                let good = (200..300).contains(&answer.status);
                self.good &= good;
                (format!("{} {}", answer.status, answer.outcome()), (!good).then(|| line(&answer)))
            }
            Err(error) => {
                self.good = false;
                (format!("no answer: {error}"), None)
            }
        };
        self.answers.entry(kind).or_insert((0, words)).0 += 1;
        bar.inc(1);
    }

    fn print(&mut self, took: Duration, url: &str) {
        let sent: u64 = self.answers.values().map(|(count, _)| count).sum();
        println!(
            "{sent} sent to {url} in {:.2} s, {:.0} a second",
            took.as_secs_f64(),
            as_f64(sent) / took.as_secs_f64()
        );
        for (kind, (count, words)) in &self.answers {
            println!("{count:>9}  {kind}");
            if let Some(words) = words {
                println!("           first: {words}");
            }
        }
        self.times.sort_unstable();
        let at = |share: usize| self.times.get((self.times.len() * share / 100).min(self.times.len() - 1));
        if !self.times.is_empty() {
            let ms = |share| at(share).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
            println!(
                "latency, ms: min {:.1}, median {:.1}, 90 % {:.1}, 99 % {:.1}, max {:.1}",
                ms(0),
                ms(50),
                ms(90),
                ms(99),
                ms(100)
            );
        }
    }
}

/// Drawn on standard error, where it is a terminal.
fn progress(repeat: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {eta} left");
    ProgressBar::new(repeat).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[allow(clippy::cast_precision_loss, reason = "for showing and pacing")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_positive_number_a_second() {
        assert_eq!((rate("10/s"), rate("0.5")), (Ok(10.0), Ok(0.5)));
        for bad in ["", "0", "-1/s", "ten/s", "10/m", "inf"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
