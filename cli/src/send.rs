//! `gatehouse send`: signs and posts a body, once or many times as a load test.

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

use crate::shell::{innermost, note, print, write};
use crate::vendor::{DeliveryArguments, SourceArg, list_examples};

pub(crate) const EXAMPLES: &str = "\
Each repetition has its own message id: the first id with the suffix _1, _2 and so on. Repetitions of an example are new
events, with other ids and times. Those of a file are new events if the vendor's event ids are message ids, and
duplicates if they come from the body.

Examples:
  gatehouse send ada                                 an example body, to `gatehouse dev`
  gatehouse send --list                              the examples of all vendors
  gatehouse send vapi-server --example end-of-call-report
  gatehouse send ada --set data.conversation_id=c1
  gatehouse send vapi-client body.json
  gatehouse send ada body.json --to https://….lambda-url.us-east-1.on.aws/ --secret whsec_…
  gatehouse send ada --repeat 10000 --concurrency 16   as fast as possible
  gatehouse send ada --repeat 600 --rate 10/s        for a minute";

/// Time limit of one request. Every webhook function answers sooner.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of failed requests in a row after which `--repeat` stops.
const MAX_FAILURES_IN_A_ROW: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// List the example bodies of all vendors
    #[arg(long, exclusive = true)]
    list: bool,
    // Absent with --list.
    #[command(flatten)]
    delivery: Option<DeliveryArguments>,
    /// Number of deliveries
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Maximum deliveries per second, such as 10/s [default: no limit]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// Maximum number of concurrent requests
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
}

/// The valid rates per second.
pub(crate) const RATES: std::ops::RangeInclusive<f64> = 0.001..=1e6;

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    let rate = number.filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| "give a rate from 0.001/s to 1000000/s, such as 10/s".to_owned())
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let Arguments { delivery, repeat, rate, concurrency, .. } = arguments;
    let Some(delivery) = delivery else {
        write(&list_examples())?;
        return Ok(true);
    };
    let (secrets, mut body, url) = (delivery.secrets()?, delivery.body()?, delivery.url()?);
    let client = Client::new(&url)?;
    let first_id = delivery.message_id()?;
    if repeat == 1 {
        let answer = post(&client, &delivery.sign(&secrets, &first_id, &body)?).await;
        let answer = answer.map_err(|error| unreachable(&url, &error))?;
        print(&format!("{} {}\n{}", answer.status, line(&answer), reply_line(delivery.source, &answer)))?;
        if std::io::stderr().is_terminal() && is_of_dev(&url) && !answer.event_id().is_empty() {
            note(format!("gatehouse show {} shows it", answer.event_id()));
        }
        return Ok((200..300).contains(&answer.status));
    }

    let bar = progress(repeat);
    let (started, mut tally) = (Instant::now(), Tally::default());
    let mut running = JoinSet::new();
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    for n in 0..repeat {
        let due = rate.map_or(started, |rate| started + Duration::from_secs_f64(as_f64(n) / rate));
        let is_full = running.len() >= usize::from(concurrency);
        tokio::select! {
            () = wait_for_slot(&mut running, is_full, due, &mut tally, &bar) => {}
            _ = &mut stop => tally.stopped = Some("interrupted"),
        }
        if tally.failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
            tally.stopped = Some("server not reachable");
        }
        if tally.stopped.is_some() {
            break;
        }
        let message_id = if n == 0 { first_id.clone() } else { format!("{first_id}_{n}") };
        if n > 0 {
            body = delivery.next_body(&body)?;
        }
        let (signed, client) = (delivery.sign(&secrets, &message_id, &body)?, client.clone());
        running.spawn(async move { post(&client, &signed).await });
    }
    // Waits for the responses to running requests, unless the user interrupts again.
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
    Ok(tally.all_succeeded && tally.stopped.is_none())
}

/// Waits until the next delivery may be sent: until fewer than `--concurrency` requests are running, and until `due`.
async fn wait_for_slot(
    running: &mut JoinSet<Result<Answer, String>>,
    is_full: bool,
    due: Instant,
    tally: &mut Tally,
    bar: &ProgressBar,
) {
    if is_full && let Some(Ok(answer)) = running.join_next().await {
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
    match timeout(REQUEST_TIMEOUT, client.send(delivery)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(innermost(&*error)),
        Err(_) => Err(format!("timed out after {} s", REQUEST_TIMEOUT.as_secs())),
    }
}

/// Whether a URL is one of a `gatehouse dev`, whose events commands show without further arguments.
fn is_of_dev(url: &str) -> bool {
    !crate::settings::has_default_stack() && crate::settings::dev_at(None).is_ok_and(|at| url.starts_with(&at))
}

fn unreachable(url: &str, error: &str) -> String {
    let hint = if error.contains("InvalidContentType") {
        "; the server does not speak TLS, so try http://"
    } else if url.starts_with("http://127.0.0.1:") && error.contains("refused") {
        "; is `gatehouse dev` running?"
    } else {
        ""
    };
    format!("no answer from {url}: {error}{hint}")
}

/// Formats the outcome, the event id, the detail of a refusal and the response time as one line.
pub(crate) fn line(answer: &Answer) -> String {
    let problem = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
    // A response without an outcome is not from Gatehouse, and may be a long page.
    let first_line = answer.body.trim().lines().next().unwrap_or_default();
    let detail = match problem["detail"].as_str() {
        Some(detail) => detail,
        None if answer.outcome().is_empty() => first_line,
        None => "",
    };
    let ms = format!("{} ms", answer.took.as_millis());
    let parts = [answer.outcome(), answer.event_id(), detail, &ms].map(str::to_owned);
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// Returns the reply as a line, if the vendor reads it.
fn reply_line(source: SourceArg, answer: &Answer) -> String {
    if source.0.profile().expects_reply && answer.status == 200 {
        format!("{}\n", answer.body.trim_end())
    } else {
        String::new()
    }
}

/// Counts of the responses so far.
#[derive(Debug)]
struct Tally {
    /// By status and outcome: the count, and the line of the first refusal.
    answers: BTreeMap<String, (u64, Option<String>)>,
    times: Vec<Duration>,
    /// Whether every response was a 2xx.
    all_succeeded: bool,
    /// Number of requests in a row that got no response.
    failures_in_a_row: u32,
    /// Why sending stopped early.
    stopped: Option<&'static str>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { answers: BTreeMap::new(), times: Vec::new(), all_succeeded: true, failures_in_a_row: 0, stopped: None }
    }
}

impl Tally {
    fn take(&mut self, answer: Result<Answer, String>, bar: &ProgressBar) {
        let (kind, first_refusal) = match answer {
            Ok(answer) => {
                self.times.push(answer.took);
                self.failures_in_a_row = 0;
                let succeeded = (200..300).contains(&answer.status);
                self.all_succeeded &= succeeded;
                (format!("{} {}", answer.status, answer.outcome()), (!succeeded).then(|| line(&answer)))
            }
            Err(error) => {
                self.failures_in_a_row += 1;
                self.all_succeeded = false;
                (format!("no answer: {error}"), None)
            }
        };
        self.answers.entry(kind).or_insert((0, first_refusal)).0 += 1;
        bar.inc(1);
    }

    fn summary(&mut self, took: Duration, url: &str) -> String {
        let sent: u64 = self.answers.values().map(|(count, _)| count).sum();
        let (answered, seconds) = (self.times.len(), took.as_secs_f64());
        let rate = as_f64(u64::try_from(answered).unwrap_or_default()) / seconds;
        let stopped = self.stopped.map(|why| format!(", stopped: {why}")).unwrap_or_default();
        let mut text =
            format!("{sent} sent to {url} in {seconds:.2} s, {answered} answered, {rate:.1} per second{stopped}\n");
        for (kind, (count, first_refusal)) in &self.answers {
            let first_refusal = first_refusal.as_ref().map(|line| format!("           first: {line}\n"));
            let _ = write!(text, "{count:>9}  {kind}\n{}", first_refusal.unwrap_or_default());
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

/// Returns a progress bar on standard error, which is hidden if standard error is not a terminal.
pub(crate) fn progress(repeat: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {eta} left");
    ProgressBar::new(repeat).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[allow(clippy::cast_precision_loss, reason = "only for display and pacing")]
pub(crate) fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_a_positive_number_per_second() {
        assert_eq!((rate("10/s"), rate("0.5")), (Ok(10.0), Ok(0.5)));
        for bad in ["", "0", "-1/s", "ten/s", "10/m", "inf", "1e-300"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
