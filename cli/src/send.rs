//! `gatehouse send`: signs and posts, once or as a load.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use gatehouse_local::delivery::Client;
use gatehouse_local::{Answer, Error};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::shell::{innermost, print};
use crate::vendor::{DeliveryArguments, Vendor};

pub(crate) const EXAMPLES: &str = "\
Each repetition has a message id of its own (the first one's with _1, _2 … behind it), so that Ada's are new events; agntix
and Vapi name their events in the body, so that one body sent again is a duplicate.

Examples:
  gatehouse send ada                                 an example, to `gatehouse dev`
  gatehouse send vapi-client body.json
  gatehouse send ada body.json --to https://….lambda-url.us-east-1.on.aws/ --secret whsec_…
  gatehouse send ada --repeat 10000 --concurrency 16 as fast as it goes
  gatehouse send ada --repeat 600 --rate 10/s        for a minute";

/// Longer than any function takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many deliveries in a row may go unanswered.
const GIVE_UP_AFTER: u32 = 100;

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

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    let sane = number.filter(|rate| (0.001..=1e6).contains(rate));
    sane.ok_or_else(|| "give a number a second, such as 10/s, from 0.001 to 1000000".to_owned())
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let Arguments { delivery, repeat, rate, concurrency } = arguments;
    let (secrets, body, url) = (delivery.secrets()?, delivery.body()?, delivery.url());
    let client = Client::new(&url)?;
    let first_id = delivery.message_id()?;
    if repeat == 1 {
        let answer = post(&client, &delivery.sign(&secrets, &first_id, &body)?).await;
        let answer = answer.map_err(|error| unreachable(&url, &error))?;
        print(&format!("{} {}\n{}", answer.status, line(&answer), told(delivery.vendor, &answer)))?;
        return Ok((200..300).contains(&answer.status));
    }

    let bar = progress(repeat);
    let (started, mut tally) = (Instant::now(), Tally::default());
    let mut running = JoinSet::new();
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    for n in 0..repeat {
        let due = rate.map_or(started, |rate| started + Duration::from_secs_f64(as_f64(n) / rate));
        let full = running.len() >= usize::from(concurrency);
        tokio::select! {
            () = room(&mut running, full, due, &mut tally, &bar) => {}
            _ = &mut stop => tally.stopped = Some("interrupted"),
        }
        if tally.unanswered >= GIVE_UP_AFTER {
            tally.stopped = Some("nobody answers");
        }
        if tally.stopped.is_some() {
            break;
        }
        let message_id = if n == 0 { first_id.clone() } else { format!("{first_id}_{n}") };
        let (signed, client) = (delivery.sign(&secrets, &message_id, &body)?, client.clone());
        running.spawn(async move { post(&client, &signed).await });
    }
    // What is on its way may arrive; whoever interrupts again does not want to know.
    while !running.is_empty() {
        tokio::select! {
            Some(Ok(answer)) = running.join_next() => tally.take(answer, &bar),
            _ = tokio::signal::ctrl_c() => {
                tally.stopped = Some("interrupted");
                running.shutdown().await;
            }
        }
    }
    bar.finish_and_clear();
    print(&tally.summary(started.elapsed(), &url))?;
    Ok(tally.good && tally.stopped.is_none())
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

pub(crate) async fn post(client: &Client, delivery: &gatehouse_local::Delivery) -> Result<Answer, String> {
    match timeout(PATIENCE, client.send(delivery)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(innermost(&*error)),
        Err(_) => Err(format!("none within {} s", PATIENCE.as_secs())),
    }
}

fn unreachable(url: &str, error: &str) -> String {
    let hint = match url {
        _ if error.contains("InvalidContentType") => "; it does not speak TLS, so try http://",
        url if url.starts_with("http://127.0.0.1:") && error.contains("refused") => "; is `gatehouse dev` running?",
        _ => "",
    };
    format!("no answer from {url}: {error}{hint}")
}

/// Outcome, event id, and what a refusal says.
pub(crate) fn line(answer: &Answer) -> String {
    let problem = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    // Of a stranger's page, the first line is enough.
    let first_line = answer.body.trim().lines().next().unwrap_or_default();
    let detail = match problem["detail"].as_str() {
        Some(detail) => detail,
        None if answer.outcome().is_empty() => first_line,
        None => "",
    };
    let ms = format!("{} ms", answer.took.as_millis());
    let words = [answer.outcome(), answer.event_id(), detail, &ms].map(str::to_owned);
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  ")
}

/// What Vapi is told, on a line of its own; the other vendors learn no more than the outcome.
fn told(vendor: Vendor, answer: &Answer) -> String {
    let is_vapi = matches!(vendor, Vendor::VapiClient | Vendor::VapiServer);
    if is_vapi && answer.status == 200 { format!("{}\n", answer.body.trim_end()) } else { String::new() }
}

#[derive(Debug)]
struct Tally {
    /// How often, and the first refusal's words, by status and outcome.
    answers: BTreeMap<String, (u64, Option<String>)>,
    times: Vec<Duration>,
    good: bool,
    /// How many in a row were not answered.
    unanswered: u32,
    stopped: Option<&'static str>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { answers: BTreeMap::new(), times: Vec::new(), good: true, unanswered: 0, stopped: None }
    }
}

impl Tally {
    fn take(&mut self, answer: Result<Answer, String>, bar: &ProgressBar) {
        let (kind, words) = match answer {
            Ok(answer) => {
                self.times.push(answer.took);
                self.unanswered = 0;
                let good = (200..300).contains(&answer.status);
                self.good &= good;
                (format!("{} {}", answer.status, answer.outcome()), (!good).then(|| line(&answer)))
            }
            Err(error) => {
                self.unanswered += 1;
                self.good = false;
                (format!("no answer: {error}"), None)
            }
        };
        self.answers.entry(kind).or_insert((0, words)).0 += 1;
        bar.inc(1);
    }

    fn summary(&mut self, took: Duration, url: &str) -> String {
        let sent: u64 = self.answers.values().map(|(count, _)| count).sum();
        let (answered, seconds) = (self.times.len(), took.as_secs_f64());
        let rate = as_f64(u64::try_from(answered).unwrap_or_default()) / seconds;
        let stopped = self.stopped.map(|why| format!(", stopped: {why}")).unwrap_or_default();
        let mut text =
            format!("{sent} sent to {url} in {seconds:.2} s, {answered} answered, {rate:.1} a second{stopped}\n");
        for (kind, (count, words)) in &self.answers {
            let words = words.as_ref().map(|words| format!("           first: {words}\n")).unwrap_or_default();
            let _ = write!(text, "{count:>9}  {kind}\n{words}");
        }
        self.times.sort_unstable();
        if let Some(last) = answered.checked_sub(1) {
            let ms = |share: usize| self.times[(answered * share / 100).min(last)].as_secs_f64() * 1000.0;
            let _ = writeln!(
                text,
                "latency, ms: min {:.1}, median {:.1}, 90 % {:.1}, 99 % {:.1}, max {:.1}",
                ms(0),
                ms(50),
                ms(90),
                ms(99),
                ms(100)
            );
        }
        text
    }
}

/// Drawn on standard error, where it is a terminal.
pub(crate) fn progress(repeat: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {eta} left");
    ProgressBar::new(repeat).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[allow(clippy::cast_precision_loss, reason = "for showing and pacing")]
pub(crate) fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_positive_number_a_second() {
        assert_eq!((rate("10/s"), rate("0.5")), (Ok(10.0), Ok(0.5)));
        for bad in ["", "0", "-1/s", "ten/s", "10/m", "inf", "1e-300"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
