//! `gatehouse check-release`: runs stored events through recording and the rules again, without side effects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use gatehouse_inbox::store::by_source::Order;
use gatehouse_inbox::store::{Content, Record};
use gatehouse_local::Error;
use gatehouse_payload::event::Received;
use gatehouse_payload::json::Document;
use gatehouse_payload::{Event, Nonce};
use gatehouse_replies::{DEPLOYED, DEPLOYED_FILE, Rules, VapiMessage};
use gatehouse_runtime::Clock;
use gatehouse_vapi::Channel;
use gatehouse_vendor::Proof;
use gatehouse_vendors::of_event;
use serde::Serialize;

use super::deployment::{Deployment, TargetArgs};
use super::listing::{Span, contents};
use super::output::{KeyValues, OutputArgs, counted, pretty_json, print_json};
use super::{ExitStatus, NOT_FOUND, progress};
use crate::dev::{DEVELOPMENT_REPLIES, DEVELOPMENT_REPLIES_FILE};
use crate::shell::{note, read_text, write};

pub(crate) const EXAMPLES: &str = "\
The command reads each event, identifies and parses it with this release, and computes the reply of the rules. It prints
each difference to the stored event: event id, type, subject, time, parsed or answer. Without --dry-run, it also records
the event again; the outcome must be duplicate, so nothing is written. It calls neither vendors nor services nor reply
code in Rust.

Exits with 1 if anything differs.

Examples:
  gatehouse check-release ada:msg_2x
  gatehouse check-release --source vapi --since 24h --dry-run --replies functions/replies.json
  gatehouse check-release --source ada --since 7d --dry-run --json | jq 'select(.differences != [])'";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Ids of events [default: the events received since --since]
    #[arg(value_name = "EVENT")]
    ids: Vec<String>,
    #[command(flatten)]
    span: Span,
    /// Only compare; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Rules file for replies to Vapi [default: the rules built into the functions or `gatehouse dev`]
    #[arg(long, value_name = "FILE")]
    replies: Option<PathBuf>,
    /// Print the replies that differ; without it, only that they differ
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// The number of events that are recorded again at the same time.
const CONCURRENCY: usize = 16;

/// The result for one event.
#[derive(Debug, Serialize)]
struct Checked {
    event_id: String,
    /// The outcome of recording the event again; `not tried` in a dry run.
    outcome: String,
    differences: Vec<Difference>,
}

/// A property that this release reads differently.
#[derive(Debug, Serialize)]
struct Difference {
    what: &'static str,
    stored: Option<String>,
    now: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { ids, span, dry_run, replies, payload, output, target } = arguments;
    let deployment = target.find().await?;
    let rules = read_rules(&deployment, replies)?;
    let bar = progress("checking");
    let mut check = Check { deployment: &deployment, rules, dry_run, payload, output, count: 0, different: Vec::new() };
    let mut missing = false;
    if ids.is_empty() {
        let mut listing = span.list(&deployment, Order::OldestFirst)?;
        loop {
            let contents = listing.next_contents(|event| !event.conflict).await?;
            if contents.is_empty() {
                break;
            }
            bar.inc_length(contents.len() as u64);
            bar.inc(contents.len() as u64);
            check.contents(contents.into_iter().map(|(event, content)| (event.key, content)).collect()).await?;
        }
    } else {
        let found = contents(&deployment, ids.clone()).await?;
        for id in ids.iter().filter(|id| !found.contains_key(*id)) {
            note(format!("{id}: not recorded; to see its state: gatehouse events show {id}{}", deployment.flags));
            missing = true;
        }
        check.contents(found.into_iter().collect()).await?;
    }
    bar.finish_and_clear();
    match check.report(missing)? {
        0 if missing => Ok(NOT_FOUND),
        code => Ok(code),
    }
}

fn read_rules(deployment: &Deployment, file: Option<PathBuf>) -> Result<Rules, Error> {
    Ok(match file {
        Some(file) => Rules::parse(&file.display().to_string(), &read_text(&file)?)?,
        None if deployment.dev.is_some() => Rules::parse(DEVELOPMENT_REPLIES_FILE, DEVELOPMENT_REPLIES)?,
        None => Rules::parse(DEPLOYED_FILE, DEPLOYED)?,
    })
}

/// A check of some events and its results.
struct Check<'d> {
    deployment: &'d Deployment,
    rules: Rules,
    dry_run: bool,
    payload: bool,
    output: OutputArgs,
    count: usize,
    different: Vec<Checked>,
}

impl Check<'_> {
    /// Checks the records among some contents, and records them again.
    async fn contents(&mut self, contents: Vec<(String, Content)>) -> Result<(), Error> {
        let mut compared = Vec::new();
        for (key, content) in contents {
            match content {
                Content::Record(record) => {
                    let (event, differences) = self.compare(&record);
                    compared.push((record.event.id.to_string(), event.filter(|_| !self.dry_run), differences));
                }
                Content::Damaged(damaged) => note(format!("{key}: {damaged}")),
                Content::Empty | Content::Erased(_) => {}
            }
        }
        let store = &self.deployment.store;
        let record = |(event_id, event, differences): (String, Option<Event>, Vec<Difference>)| async move {
            let outcome = match event {
                Some(event) => store.record(&event, Clock::System.now()).await?.outcome.to_string(),
                None => "not tried".to_owned(),
            };
            Ok::<_, Error>(Checked { event_id, outcome, differences })
        };
        let checked: Vec<Checked> = stream::iter(compared).map(record).buffered(CONCURRENCY).try_collect().await?;
        self.count += checked.len();
        for checked in checked {
            if self.output.json {
                print_json(&checked)?;
            }
            if !checked.differences.is_empty() || !["duplicate", "not tried"].contains(&checked.outcome.as_str()) {
                self.different.push(checked);
            }
        }
        Ok(())
    }

    /// Builds the event as this release would record it, and lists the differences to the stored one.
    fn compare(&self, record: &Record) -> (Option<Event>, Vec<Difference>) {
        let stored = &record.event;
        let unreadable = |why: &str| {
            vec![Difference { what: "readable", stored: Some("yes".to_owned()), now: Some(why.to_owned()) }]
        };
        let Some(source) = of_event(&stored.id) else {
            return (None, unreadable("no, this release does not know its source"));
        };
        let body = stored.body.clone();
        let Ok(document) = Document::read(&body) else { return (None, unreadable("no, it is not a JSON object")) };
        let mut differences = Vec::new();
        let mut check = |what, stored: Option<String>, now: Option<String>| {
            if stored != now {
                differences.push(Difference { what, stored, now });
            }
        };
        // The stored fingerprint is that of the delivery. The stored body may be redacted, and then has another one.
        let mut now = source.event(&document, Received::of(stored));
        let identity = source.identify(
            &document,
            &Proof { by: stored.verified_by.clone(), message_id: None },
            &stored.fingerprint,
            &stored.nonce,
        );
        // The id can be compared only if the body contains everything that the id is derived from.
        let is_whole = !stored.body.windows(REDACTED.len()).any(|part| part == REDACTED);
        let is_in_body = is_whole && source.id_is_in_body(&document, &stored.id);
        if is_in_body && !identity.weak && !stored.flags.weak_identity {
            check("event id", Some(stored.id.to_string()), Some(identity.id.to_string()));
        }
        check("type", stored.event_type.clone(), now.event_type.clone());
        // A subject may have been recorded under the former name of its source.
        let present = |event: &Event| event.subject.as_ref().and_then(|subject| subject.names().next());
        let subject = |event: &Event| present(event).map(|subject| subject.to_string());
        check("subject", subject(stored), subject(&now));
        check("occurred at", Some(stored.occurred_at.to_string()), Some(now.occurred_at.to_string()));
        let unparsed = |event: &Event| Some(if event.flags.unparsed { "no" } else { "yes" }.to_owned());
        check("parsed", unparsed(stored), unparsed(&now));
        if let Some(channel) = Channel::of(&stored.id) {
            let mut chosen = self.rules.choose(channel, &VapiMessage::by(stored), &BTreeMap::new(), None);
            // The answer of a service is not known without asking it.
            if chosen.unasked.is_some() || stored.asked.is_some() {
                chosen.reply.clone_from(&stored.answer);
            }
            // Without --payload, the descriptions of two different replies must differ even if the lengths are equal.
            let description = |reply: &Option<String>, other: &Option<String>, word: &str| match reply {
                Some(text) if self.payload => Some(text.clone()),
                Some(text) if reply != other => {
                    Some(format!("{word}, {} bytes; pass --payload to show it", text.len()))
                }
                Some(_) => Some("the same".to_owned()),
                None => None,
            };
            let (old, new) = (&stored.answer, &chosen.reply);
            check("answer", description(old, new, "a reply"), description(new, old, "another reply"));
            now.answer = chosen.reply;
            now.asked.clone_from(&stored.asked);
        }
        // With a new nonce, the store sees another delivery instead of the write that made the record.
        if let Ok(nonce) = Nonce::random() {
            now.nonce = nonce;
        }
        (Some(now), differences)
    }

    fn report(self, is_explained: bool) -> ExitStatus {
        if self.count == 0 {
            if !is_explained {
                note("no events in this time; pass an earlier --since, such as 24h or 7d");
            }
            // Nothing was checked, so a release must not count as good.
            return Ok(NOT_FOUND);
        }
        if !self.output.json {
            if self.payload {
                self.print_blocks()?
            } else {
                self.print_table()?
            }
            let recording = if self.dry_run { "nothing was written" } else { "recorded again as duplicates" };
            let (events, differ) = (counted(self.count, "event"), self.different.len());
            write(&format!("{events} checked, {recording}; {differ} differ\n"))?;
        }
        Ok(u8::from(!self.different.is_empty()))
    }

    fn print_table(&self) -> Result<(), Error> {
        let mut table = self.output.table(["EVENT", "OUTCOME", "DIFFERS IN", "STORED", "NOW"]);
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        for Checked { event_id, outcome, differences } in &self.different {
            for Difference { what, stored, now } in differences {
                let (stored, now) = (or_dash(stored), or_dash(now));
                table.row([event_id.clone(), outcome.clone(), (*what).to_owned(), stored, now]);
            }
            if differences.is_empty() {
                let (what, stored) = ("recording".to_owned(), "recorded".to_owned());
                table.row([event_id.clone(), outcome.clone(), what, stored, outcome.clone()]);
            }
        }
        if table.is_empty() { Ok(()) } else { table.print() }
    }

    /// Prints the differences whole.
    fn print_blocks(&self) -> Result<(), Error> {
        for Checked { event_id, outcome, differences } in &self.different {
            let mut lines = KeyValues::default();
            lines.add("event", event_id);
            lines.add("outcome", outcome);
            for Difference { what, stored, now } in differences {
                let whole = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), pretty_json);
                lines.block(&format!("{what}, stored"), &whole(stored));
                lines.block(&format!("{what}, now"), &whole(now));
            }
            lines.print()?;
            write("\n")?;
        }
        Ok(())
    }
}

/// The text that replaces a credential. The event id may be derived from the credential.
const REDACTED: &[u8] = b"[redacted]";
