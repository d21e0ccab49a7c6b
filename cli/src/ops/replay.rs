//! `gatehouse replay`: runs stored events through recording and the rules again, without side effects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use gatehouse_inbox::store::Record;
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
use super::listing::Span;
use super::output::{OutputArgs, Table, print_json};
use super::{ExitStatus, NOT_FOUND, progress};
use crate::dev::{DEVELOPMENT_REPLIES, DEVELOPMENT_REPLIES_FILE};
use crate::shell::{print, read_text};

pub(crate) const EXAMPLES: &str = "\
Reads each event from the table, identifies and parses it with this release, and computes the rules' reply; nothing is
sent to a vendor or a call. Then records the event again, which must find a duplicate and changes nothing; --dry-run
omits this step. Prints each difference to the stored event: type, subject, time or reply. Replies of Rust code are
not replayed.

Exits with 1 if anything differs.

Examples:
  gatehouse replay ada:msg_2x
  gatehouse replay --source vapi --since 24h --dry-run --replies functions/replies.json
  gatehouse replay --source ada --since 7d --dry-run --json | jq 'select(.differences != [])'";

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
    /// Print the replies (whole with --json); without it, only whether they differ
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Number of records in one read.
const BATCH: usize = 50;

/// The result of replaying one event.
#[derive(Debug, Serialize)]
struct Replayed {
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
    let bar = progress("replaying");
    let mut replay =
        Replay { deployment: &deployment, rules, dry_run, payload, output, count: 0, different: Vec::new() };
    let mut missing = false;
    if ids.is_empty() {
        let mut keys = Vec::new();
        let replay_arrivals = span.for_each(&deployment, async |arrival| {
            if !arrival.conflict {
                keys.push(arrival.key);
            }
            if keys.len() == BATCH {
                bar.inc(BATCH as u64);
                replay.replay_batch(std::mem::take(&mut keys)).await?;
            }
            Ok(true)
        });
        replay_arrivals.await?;
        replay.replay_batch(keys).await?;
    } else {
        for part in ids.chunks(BATCH) {
            bar.inc(part.len() as u64);
            let found = replay.replay_batch(part.to_vec()).await?;
            missing |= found.len() < part.len();
            for id in part.iter().filter(|id| !found.contains(id)) {
                eprintln!("{id}: not recorded; to see its state: gatehouse events show {id}{}", deployment.flags);
            }
        }
    }
    bar.finish_and_clear();
    match replay.report()? {
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

/// A replay of some events and its results.
struct Replay<'d> {
    deployment: &'d Deployment,
    rules: Rules,
    dry_run: bool,
    payload: bool,
    output: OutputArgs,
    count: usize,
    different: Vec<Replayed>,
}

impl Replay<'_> {
    /// Replays the records under `keys`. Returns the keys that have an item.
    async fn replay_batch(&mut self, keys: Vec<String>) -> Result<Vec<String>, Error> {
        use gatehouse_inbox::store::Content;
        let contents = self.deployment.store.contents(keys, Clock::System.now()).await?;
        let mut found = Vec::new();
        let sorted: BTreeMap<_, _> = contents.into_iter().collect();
        for (key, content) in sorted {
            match content {
                Content::Record(record) => self.replay_record(&record).await?,
                Content::Damaged(damaged) => eprintln!("{key}: {damaged}"),
                Content::Empty | Content::Erased(_) => {}
            }
            found.push(key);
        }
        Ok(found)
    }

    async fn replay_record(&mut self, record: &Record) -> Result<(), Error> {
        let (event, differences) = self.compare(record);
        let outcome = match event {
            Some(event) if !self.dry_run => {
                self.deployment.store.record(&event, Clock::System.now()).await?.outcome.to_string()
            }
            _ => "not tried".to_owned(),
        };
        self.count += 1;
        let replayed = Replayed { event_id: record.event.id.to_string(), outcome, differences };
        if self.output.json {
            print_json(&replayed)?;
        }
        if !replayed.differences.is_empty() || !["duplicate", "not tried"].contains(&replayed.outcome.as_str()) {
            self.different.push(replayed);
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
        let subject = |event: &Event| event.subject.as_ref().map(ToString::to_string);
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

    fn report(self) -> ExitStatus {
        if self.count == 0 {
            eprintln!("no events to replay");
            return Ok(NOT_FOUND);
        }
        if !self.output.json {
            let mut table = Table::new(["EVENT", "OUTCOME", "DIFFERS IN", "STORED", "NOW"]);
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            for Replayed { event_id, outcome, differences } in &self.different {
                for Difference { what, stored, now } in differences {
                    let (stored, now) = (shortened(or_dash(stored)), shortened(or_dash(now)));
                    table.row([event_id.clone(), outcome.clone(), (*what).to_owned(), stored, now]);
                }
                if differences.is_empty() {
                    table.row([
                        event_id.clone(),
                        outcome.clone(),
                        "recording".to_owned(),
                        "recorded".to_owned(),
                        outcome.clone(),
                    ]);
                }
            }
            if !self.different.is_empty() {
                table.print()?;
            }
            let recording = if self.dry_run { "nothing was written" } else { "recorded again as duplicates" };
            print(&format!("{} replayed, {recording}; {} differ\n", self.count, self.different.len()))?;
        }
        Ok(u8::from(!self.different.is_empty()))
    }
}

/// Cuts a text off after 60 characters, because replies may be long.
fn shortened(text: String) -> String {
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

/// The text that replaces a credential. The event id may be derived from the credential.
const REDACTED: &[u8] = b"[redacted]";
