//! The secrets document: one JSON object with a part for each vendor.
//!
//! Every value stands in a list, so that the old and the new are valid side by side during a rotation. A part that
//! cannot be used closes its vendor alone; of a part's values only the usable ones count, and [`Secrets::defects`]
//! names the rest.

mod cache;
mod secret;

pub use cache::{Refresh, SecretsCache};
pub use secret::Secret;

use std::borrow::Cow;
use std::collections::HashMap;

use gatehouse_payload::json::members;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::chat::{AgentChat, AgentPart, ClientPart, IssuerPart, Part, is_issuer};
use crate::scheme::Scheme;
use crate::signature::SigningKey;

/// The document everyone can read in this repository. For one's own machine only.
pub const DEVELOPMENT: &str = include_str!("secrets/development.json");

/// Each vendor's secrets.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Keys that sign Ada's deliveries; empty closes the vendor.
    pub ada: Vec<SigningKey>,
    /// Keys that sign agntix' deliveries; empty closes the vendor.
    pub agntix: Vec<SigningKey>,
    /// Schemes that verify Vapi's; empty closes the vendor.
    pub vapi: Vec<Scheme>,
    /// Who may chat with which agent.
    pub agent_chat: AgentChat,
    /// What is wrong with the rest of the document, with the place and without the value.
    pub defects: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("defects", &self.defects).finish_non_exhaustive()
    }
}

/// The document is no JSON object. Says where, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secrets document is not a JSON object with the members ada, agntix, vapi and agent_chat (line {line}, column {column})"
)]
pub struct UnreadableSecrets {
    line: usize,
    column: usize,
}

/// The parts a document may have.
const PARTS: [&str; 4] = ["ada", "agntix", "vapi", "agent_chat"];

#[derive(Deserialize)]
struct SigningSecrets {
    signing_secrets: Vec<Secret>,
}

#[derive(Deserialize)]
struct Schemes {
    schemes: Vec<Box<RawValue>>,
}

impl Secrets {
    /// Reads a document. Unless `development` is allowed, the values of [`DEVELOPMENT`] are refused like short ones.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn parse(document: &str, development: bool) -> Result<Self, UnreadableSecrets> {
        let unreadable = |e: serde_json::Error| UnreadableSecrets { line: e.line(), column: e.column() };
        // An object of anything: that it is none is told by its place.
        let _: HashMap<String, &RawValue> = serde_json::from_str(document).map_err(unreadable)?;
        let mut reader = Reader { development, defects: Vec::new() };
        let members = members(document);
        let parts = reader.parts(&members);
        let [ada, agntix, vapi, agent_chat] = PARTS.map(|name| parts.get(name).copied());
        Ok(Secrets {
            ada: reader.signing_keys("ada", ada),
            agntix: reader.signing_keys("agntix", agntix),
            vapi: reader.schemes("vapi", vapi),
            agent_chat: reader.agent_chat("agent_chat", agent_chat),
            defects: reader.defects,
        })
    }
}

struct Reader {
    development: bool,
    defects: Vec<String>,
}

impl Reader {
    /// The parts by name. One that stands twice is none: nobody can tell which was meant.
    fn parts<'d>(&mut self, members: &'d [(Cow<'_, str>, &RawValue)]) -> HashMap<&'d str, &'d RawValue> {
        let mut parts = HashMap::new();
        for (n, (name, part)) in members.iter().enumerate() {
            // Its name is not shown: it may be a secret in the wrong place.
            let Some(known) = PARTS.into_iter().find(|known| known == name) else {
                let parts = PARTS.join(", ");
                self.defects.push(format!("member {} of the document is none of {parts}", n + 1));
                continue;
            };
            let mut same = members.iter().enumerate().filter(|(_, member)| member.0 == known).map(|(n, _)| n);
            match (same.next(), same.next()) {
                (Some(first), Some(_)) if first == n => self.defects.push(format!("{known} stands more than once")),
                (_, Some(_)) => {}
                (_, None) => drop(parts.insert(known, *part)),
            }
        }
        parts
    }

    /// A part that is absent is closed without a word; one of another shape is a defect.
    fn part<T: DeserializeOwned>(&mut self, place: &str, part: Option<&RawValue>) -> Option<T> {
        let read = serde_json::from_str(part?.get());
        if read.is_err() {
            self.defects.push(format!("{place} has not the shape the documentation shows"));
        }
        read.ok()
    }

    fn check(&mut self, place: &str, value: &str, defect: Option<String>) -> bool {
        let published = !self.development && DEVELOPMENT.contains(value);
        let published = || published.then(|| "is published in Gatehouse's repository; make one of your own".to_owned());
        let defect = if value.is_empty() { Some("is empty".to_owned()) } else { defect.or_else(published) };
        self.defects.extend(defect.iter().map(|defect| format!("{place} {defect}")));
        defect.is_none()
    }

    fn usable<T>(&mut self, place: &str, read: Result<T, &'static str>) -> Option<T> {
        self.defects.extend(read.as_ref().err().map(|defect| format!("{place}{defect}")));
        read.ok()
    }

    fn signing_keys(&mut self, vendor: &str, part: Option<&RawValue>) -> Vec<SigningKey> {
        let mut keys = Vec::new();
        let part = self.part::<SigningSecrets>(vendor, part);
        let secrets = part.map(|part| part.signing_secrets).unwrap_or_default();
        for (n, secret) in secrets.iter().enumerate() {
            let key = SigningKey::parse(secret);
            // With and without its prefix it is the same.
            let is_there = key.as_ref().is_ok_and(|key| keys.iter().any(|before: &SigningKey| before.is(key)));
            let again = || is_there.then(|| TWICE.to_owned());
            let defect = key.as_ref().err().map(ToString::to_string).or_else(again);
            if self.check(&format!("{vendor}.signing_secrets[{n}]"), secret, defect) {
                keys.extend(key);
            }
        }
        keys
    }

    fn schemes(&mut self, vendor: &str, part: Option<&RawValue>) -> Vec<Scheme> {
        let mut schemes = Vec::new();
        let part = self.part::<Schemes>(vendor, part);
        for (n, raw) in part.map(|part| part.schemes).unwrap_or_default().iter().enumerate() {
            let place = format!("{vendor}.schemes[{n}]");
            let Some(mut scheme) = self.part::<Scheme>(&place, Some(raw)) else { continue };
            if let Some(defect) = scheme.defect() {
                self.defects.push(format!("{place}: {defect}"));
                continue;
            }
            let values = std::mem::take(scheme.values_mut());
            let mut usable = Vec::new();
            for (m, value) in values.iter().enumerate() {
                let defect = scheme.value_defect(value).map(str::to_owned).or_else(|| twice(&values, m));
                if self.check(&format!("{place}.values[{m}]"), value, defect) {
                    usable.push(value.clone());
                }
            }
            if !usable.is_empty() {
                *scheme.values_mut() = usable;
                schemes.push(scheme);
            }
        }
        schemes
    }

    fn agent_chat(&mut self, name: &str, part: Option<&RawValue>) -> AgentChat {
        let Some(Part { clients, agents }) = self.part(name, part) else { return AgentChat::default() };
        let mut chat = AgentChat::default();
        for (n, raw) in clients.iter().enumerate() {
            let place = format!("{name}.clients[{n}]");
            if is_issuer(raw) {
                let issuer = self.part::<IssuerPart>(&place, Some(raw)).map(IssuerPart::issuer);
                chat.issuers.extend(issuer.and_then(|issuer| self.usable(&place, issuer)));
                continue;
            }
            let Some(client) = self.part::<ClientPart>(&place, Some(raw)) else { continue };
            let taken = chat.client(&client.token).is_some().then(|| "is that of another client".to_owned());
            let defect = client.token_defect().or(taken);
            if self.check(&format!("{place}.token"), &client.token, defect) {
                let client = client.client(&chat.clients);
                chat.clients.extend(self.usable(&place, client));
            }
        }
        for (id, raw) in &agents {
            let place = format!("{name}.agents.{id}");
            let Some(agent) = self.part::<AgentPart>(&place, Some(raw)) else { continue };
            let agent = self.usable(&place, agent.agent());
            chat.agents.extend(agent.map(|agent| (id.clone(), agent)));
        }
        chat
    }
}

const TWICE: &str = "stands in the list before";

/// A value that stands before: a rotation that was not one.
fn twice(values: &[Secret], n: usize) -> Option<String> {
    let before = values.iter().take(n).any(|value| Some(value) == values.get(n));
    before.then(|| TWICE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn parse(document: &str) -> Secrets {
        Secrets::parse(document, false).unwrap()
    }

    #[test]
    fn the_development_document_is_whole_and_refused_unless_allowed() {
        let secrets = Secrets::parse(DEVELOPMENT, true).unwrap();
        assert_eq!((secrets.ada.len(), secrets.agntix.len(), secrets.vapi.len()), (1, 1, 2));
        assert_eq!(secrets.defects, Vec::<String>::new());

        let secrets = parse(DEVELOPMENT);
        assert_eq!((secrets.ada.len(), secrets.agntix.len(), secrets.vapi.len()), (0, 0, 0));
        assert_eq!(secrets.defects.len(), 5);
        assert!(secrets.agent_chat.clients.is_empty());
    }

    #[test]
    fn a_bad_part_closes_its_vendor_alone_and_is_named_without_its_value() {
        let secrets =
            parse(&format!(r#"{{"ada":{{"signing_secrets":"{GOOD}"}},"agntix":{{"signing_secrets":["{GOOD}"]}}}}"#));
        assert!(secrets.ada.is_empty() && secrets.vapi.is_empty());
        assert_eq!(secrets.agntix.len(), 1);
        assert!(secrets.defects[0].starts_with("ada ") && !secrets.defects[0].contains("MfKQ"));
    }

    #[test]
    fn unusable_values_are_passed_over_and_named_by_their_place() {
        let secrets = parse(&format!(
            r#"{{"ada":{{"signing_secrets":["","whsec_","whsec_%","whsec_c2hvcnQ=","{GOOD}"]}},
                "vapi":{{"schemes":[
                    {{"kind":"bearer","header":"authorization","prefix":"Bearer ","values":["","short"," padded-with-white-space "]}},
                    {{"kind":"oauth2"}},
                    {{"kind":"bearer","header":"x-vapi-secret","prefix":"","values":["long-enough-to-be-used"]}}]}}}}"#
        ));
        assert_eq!((secrets.ada.len(), secrets.vapi.len()), (1, 1));
        let places: Vec<_> = secrets.defects.iter().filter_map(|defect| defect.split(' ').next()).collect();
        assert_eq!(
            places,
            [
                "ada.signing_secrets[0]",
                "ada.signing_secrets[1]",
                "ada.signing_secrets[2]",
                "ada.signing_secrets[3]",
                "vapi.schemes[0].values[0]",
                "vapi.schemes[0].values[1]",
                "vapi.schemes[0].values[2]",
                "vapi.schemes[1]",
            ]
        );
        let empty = [0, 4].map(|n| secrets.defects[n].ends_with(" is empty"));
        assert_eq!(empty, [true; 2], "{:?}", secrets.defects);
        assert!(!format!("{secrets:?}").contains("short\""));
    }

    #[test]
    fn a_value_that_stands_twice_counts_once_and_is_named() {
        let secrets = parse(&format!(
            r#"{{"ada":{{"signing_secrets":["{GOOD}","{GOOD}"]}},"vapi":{{"schemes":[{{"kind":"bearer",
                "header":"x","prefix":"","values":["a-token-of-some-length","a-token-of-some-length"]}}]}}}}"#
        ));
        assert_eq!(secrets.ada.len(), 1);
        let told: Vec<_> = secrets.defects.iter().filter_map(|defect| defect.split(' ').next()).collect();
        assert_eq!(told, ["ada.signing_secrets[1]", "vapi.schemes[0].values[1]"]);
    }

    #[test]
    fn a_part_of_another_name_or_that_stands_twice_is_none_and_is_told() {
        let part = format!(r#"{{"signing_secrets":["{GOOD}"]}}"#);
        let secrets = parse(&format!(r#"{{"Ada":{part},"agntix":{part},"agntix":{part},"{GOOD}":1}}"#));
        assert!(secrets.ada.is_empty() && secrets.agntix.is_empty());
        let parts = "of the document is none of ada, agntix, vapi, agent_chat";
        let told =
            [format!("member 1 {parts}"), "agntix stands more than once".to_owned(), format!("member 4 {parts}")];
        assert_eq!(secrets.defects, told);
        assert!(!secrets.defects.join("").contains("MfKQ"));
    }

    #[test]
    fn what_is_no_object_is_an_error_that_shows_nothing() {
        for document in ["", "whsec_secret", "[]", "{\"ada\": whsec_secret}"] {
            let error = Secrets::parse(document, false).unwrap_err().to_string();
            assert!(!error.contains("whsec"), "{error}");
        }
    }
}
