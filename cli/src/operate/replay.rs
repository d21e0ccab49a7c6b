//! `gatehouse replay`: stored events once more through recording and the rules, without side effects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use gatehouse_edge::vapi::Class;
use gatehouse_edge::{Source, Verified};
use gatehouse_inbox::queue::Envelope;
use gatehouse_inbox::store::Record;
use gatehouse_inbox::{Clock, Event, EventId, Nonce};
use gatehouse_local::Error;
use gatehouse_payload::json::Document;
use gatehouse_replies::{DEPLOYED, DEPLOYED_FILE, Rules, Said};
use serde::Serialize;

use super::deployment::{Deployment, Which};
use super::listing::Span;
use super::output::{Form, Table, json};
use super::{NOT_FOUND, Verdict, progress};
use crate::dev::{DEVELOPMENT_REPLIES, DEVELOPMENT_REPLIES_FILE};
use crate::shell::{print, read_text};

pub(crate) const EXAMPLES: &str = "\
Each event is read from the table, identified and parsed by this release, and answered by the rules; nothing is sent anywhere, and no
call hears anything. Then it is recorded again, which must find that it is a duplicate and changes nothing; --dry-run leaves that out.
What would differ now is printed: a kind, a subject or a time that this release reads otherwise, another answer. Code that answers in
Rust is not asked.

Exits with 1 where anything differs.

Examples:
  gatehouse replay ada:msg_2x
  gatehouse replay --source vapi --since 24h --dry-run --replies functions/replies.json
  gatehouse replay --source ada --since 7d --dry-run --json | jq 'select(.differences != [])'";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Events by their ids [default: what arrived since --since]
    #[arg(value_name = "EVENT")]
    ids: Vec<String>,
    #[command(flatten)]
    span: Span,
    /// Say what would differ, and write nothing at all
    #[arg(long)]
    dry_run: bool,
    /// The rules that answer Vapi's messages [default: those a function, or `gatehouse dev`, is built with]
    #[arg(long, value_name = "FILE")]
    replies: Option<PathBuf>,
    /// Answers whole; else only that they differ
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    form: Form,
}

/// How many records are read at once.
const BATCH: usize = 50;

#[derive(Debug, Serialize)]
struct Replayed {
    event_id: String,
    /// What recording it again came to; `not tried` in a dry run.
    outcome: String,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    what: &'static str,
    stored: Option<String>,
    now: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Verdict {
    let Arguments { ids, span, dry_run, replies, payload, which, form } = arguments;
    let deployment = which.find().await?;
    let rules = rules(&deployment, replies)?;
    let bar = progress("replaying");
    let mut replay = Replay { deployment: &deployment, rules, dry_run, payload, form, count: 0, different: Vec::new() };
    let mut missing = false;
    if ids.is_empty() {
        let mut keys = Vec::new();
        let each = span.each(&deployment, async |arrival| {
            if !arrival.conflict {
                keys.push(arrival.key);
            }
            if keys.len() == BATCH {
                bar.inc(BATCH as u64);
                replay.all(std::mem::take(&mut keys)).await?;
            }
            Ok(true)
        });
        each.await?;
        replay.all(keys).await?;
    } else {
        for part in ids.chunks(BATCH) {
            bar.inc(part.len() as u64);
            let found = replay.all(part.to_vec()).await?;
            missing |= found.len() < part.len();
            for id in part.iter().filter(|id| !found.contains(id)) {
                eprintln!("{id}: not recorded; what became of it: gatehouse events show {id}{}", deployment.again);
            }
        }
    }
    bar.finish_and_clear();
    match replay.end()? {
        0 if missing => Ok(NOT_FOUND),
        code => Ok(code),
    }
}

fn rules(deployment: &Deployment, file: Option<PathBuf>) -> Result<Rules, Error> {
    Ok(match file {
        Some(file) => Rules::parse(&file.display().to_string(), &read_text(&file)?)?,
        None if deployment.dev.is_some() => Rules::parse(DEVELOPMENT_REPLIES_FILE, DEVELOPMENT_REPLIES)?,
        None => Rules::parse(DEPLOYED_FILE, DEPLOYED)?,
    })
}

struct Replay<'d> {
    deployment: &'d Deployment,
    rules: Rules,
    dry_run: bool,
    payload: bool,
    form: Form,
    count: usize,
    different: Vec<Replayed>,
}

impl Replay<'_> {
    /// The ids that there are records of.
    async fn all(&mut self, keys: Vec<String>) -> Result<Vec<String>, Error> {
        use gatehouse_inbox::store::Place;
        let places = self.deployment.store.read(keys, Clock::System.now()).await?;
        let mut found = Vec::new();
        let sorted: BTreeMap<_, _> = places.into_iter().collect();
        for (key, place) in sorted {
            match place {
                Place::Record(record) => self.one(&record).await?,
                Place::Damaged(damaged) => eprintln!("{key}: {damaged}"),
                Place::Empty | Place::Erased(_) => {}
            }
            found.push(key);
        }
        Ok(found)
    }

    async fn one(&mut self, record: &Record) -> Result<(), Error> {
        let (event, differences) = self.again(record);
        let outcome = match event {
            _ if self.dry_run => "not tried".to_owned(),
            Some(event) => self.deployment.store.record(&event, Clock::System.now()).await?.outcome.to_string(),
            None => "not tried".to_owned(),
        };
        self.count += 1;
        let replayed = Replayed { event_id: record.event.id.to_string(), outcome, differences };
        if self.form.json {
            json(&replayed)?;
        }
        if !replayed.differences.is_empty() || !["duplicate", "not tried"].contains(&replayed.outcome.as_str()) {
            self.different.push(replayed);
        }
        Ok(())
    }

    /// The event as this release would record it, and in what that differs.
    fn again(&self, record: &Record) -> (Option<Event>, Vec<Difference>) {
        let stored = &record.event;
        let unreadable = |why: &str| {
            vec![Difference { what: "readable", stored: Some("yes".to_owned()), now: Some(why.to_owned()) }]
        };
        let Some(source) = Source::of(&stored.id) else { return (None, unreadable("no source of this release's")) };
        let body = stored.body.clone();
        let Ok(document) = Document::read(&body) else { return (None, unreadable("no JSON object")) };
        let mut differences = Vec::new();
        let mut differ = |what, stored: Option<String>, now: Option<String>| {
            if stored != now {
                differences.push(Difference { what, stored, now });
            }
        };
        // What is stored is redacted, so that the fingerprint is that of the delivery, not of what is stored.
        let mut now = source.event(&document, Envelope::of(stored));
        let identity = source.identify(
            &document,
            &Verified { by: stored.verified_by.clone(), message_id: None },
            &stored.fingerprint,
            &stored.nonce,
        );
        // A vendor's message id is not in the body.
        let is_whole = !stored.body.windows(GONE.len()).any(|part| part == GONE);
        let is_in_body = is_whole && identity_is_in_body(source, &document, &stored.id);
        if is_in_body && !identity.weak && !stored.marks.weak_identity {
            differ("event id", Some(stored.id.to_string()), Some(identity.id.to_string()));
        }
        differ("type", stored.event_type.clone(), now.event_type.clone());
        let subject = |event: &Event| event.subject.as_ref().map(ToString::to_string);
        differ("subject", subject(stored), subject(&now));
        differ("occurred at", Some(stored.occurred_at.to_string()), Some(now.occurred_at.to_string()));
        let unparsed = |event: &Event| Some(if event.marks.unparsed { "no" } else { "yes" }.to_owned());
        differ("parsed", unparsed(stored), unparsed(&now));
        if let Source::Vapi(channel) = source {
            let chosen = self.rules.choose(channel, &Said::by(stored), &BTreeMap::new(), None);
            // Two answers of one length differ all the same.
            let told = |answer: &Option<String>, other: &Option<String>, word: &str| match answer {
                Some(answer) if self.payload => Some(answer.clone()),
                Some(text) if answer != other => Some(format!("{word}, {} bytes; --payload shows it", text.len())),
                other => other.as_ref().map(|_| "the same".to_owned()),
            };
            let (old, new) = (&stored.answer, &chosen.reply);
            differ("answer", told(old, new, "an answer"), told(new, old, "another"));
            now.answer = chosen.reply;
        }
        // As a delivery that comes again: who holds its place is another's write.
        if let Ok(nonce) = Nonce::random() {
            now.nonce = nonce;
        }
        (Some(now), differences)
    }

    fn end(self) -> Verdict {
        if self.count == 0 {
            eprintln!("nothing to replay");
            return Ok(NOT_FOUND);
        }
        if !self.form.json {
            let mut table = Table::new(["EVENT", "OUTCOME", "DIFFERS IN", "STORED", "NOW"]);
            let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            for Replayed { event_id, outcome, differences } in &self.different {
                for Difference { what, stored, now } in differences {
                    let (stored, now) = (shortened(or(stored.clone())), shortened(or(now.clone())));
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
            let tried = if self.dry_run { "nothing was written" } else { "recorded again as duplicates" };
            print(&format!("{} replayed, {tried}; {} differ\n", self.count, self.different.len()))?;
        }
        Ok(u8::from(!self.different.is_empty()))
    }
}

/// Answers may be long.
fn shortened(text: String) -> String {
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

/// What stands in the place of a credential: the id may have been made of it.
const GONE: &[u8] = b"[redacted]";

/// Whether the stored id can be made of the body again. One that is a signed message id cannot.
fn identity_is_in_body(source: Source, document: &Document<'_>, stored: &EventId) -> bool {
    match source {
        Source::Ada | Source::AgKit => false,
        Source::Agntix => {
            let readable = gatehouse_payload::agntix::readable(document);
            gatehouse_payload::agntix::Envelope::of(&readable).once_per_session().is_some()
        }
        Source::Vapi(_) => {
            let kind = source.parse(document).event_type.unwrap_or_default();
            let is_one_part = stored.as_str().split(':').count() == 4;
            !is_one_part || Class::of(&kind) == Class::NamedOnce || kind == "assistant-request"
        }
    }
}
