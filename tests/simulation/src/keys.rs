//! The secrets of the world: what vendors sign with, what clients send, and the secrets document.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use gatehouse_vendor::{Parts, Source};
use gatehouse_vendors::Secrets;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::plan::{Breakage, CLIENTS, CONCURRENT_TURNS, DESTINATIONS, Signer, TURNS_PER_MINUTE};

/// The name of the agent that all clients ask.
pub const AGENT: &str = "agent";
/// The URL of that agent.
pub const AGENT_URL: &str = "https://agent.simulated/run";

/// The name of the user's service.
pub const SERVICE: &str = "orders";
/// The host of that service.
pub const SERVICE_HOST: &str = "service.simulated";

/// The end of the host of each destination, after its name.
pub const DESTINATION_DOMAIN: &str = ".destination.simulated";
/// The marker of the only event of Ada that the second destination gets.
pub const ARCHIVED_MARKER: &str = "PRIVATE-1-Original-";

/// The secrets of all vendors and clients, by part of the secrets document.
#[derive(Debug, Clone)]
pub struct Keys {
    seed: u64,
    /// The number of the secret that the vendor signs with.
    current: BTreeMap<&'static str, u32>,
    /// The numbers of the secrets that the document has.
    valid: BTreeMap<&'static str, Vec<u32>>,
    /// The last secret that was removed, and when, in milliseconds since 1970.
    removed: BTreeMap<&'static str, (u32, i64)>,
    /// Every secret and token that no text may show: all that were ever valid, and the forged tokens.
    ever: Vec<String>,
    /// The errors that the document has.
    breakages: Vec<Breakage>,
}

impl Keys {
    /// Creates the secrets of a world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let parts = || gatehouse_vendors::SOURCES.iter().map(|source| source.profile().secrets.name);
        let mut keys = Keys {
            seed,
            current: parts().map(|part| (part, 0)).collect(),
            valid: parts().map(|part| (part, vec![0])).collect(),
            removed: BTreeMap::new(),
            ever: Vec::new(),
            breakages: Vec::new(),
        };
        parts().for_each(|part| keys.remember(part, 0));
        // A forged token must not be shown either.
        keys.remember("agent_chat", u32::MAX);
        keys.ever.push(keys.agent_token());
        keys.ever.push(keys.service_secret());
        (0..DESTINATIONS.len()).for_each(|n| keys.ever.push(keys.destination_secret(n)));
        keys
    }

    /// Adds a new secret to a part of the document.
    pub fn add(&mut self, part: &'static str) {
        let next = self.current[part] + 1;
        self.valid.entry(part).or_default().push(next);
        self.remember(part, next);
    }

    /// Lets the vendor use the newest secret of a part.
    pub fn switch(&mut self, part: &'static str) {
        let newest = self.valid[part].iter().max().copied().unwrap_or_default();
        self.current.insert(part, newest);
    }

    /// Removes all secrets of a part that the vendor does not use.
    pub fn remove_old(&mut self, part: &'static str, now: i64) {
        let current = self.current[part];
        if let Some(old) = self.valid[part].iter().filter(|number| **number < current).max() {
            self.removed.insert(part, (*old, now));
        }
        self.valid.entry(part).or_default().retain(|number| *number >= current);
    }

    /// Lets the document have an error.
    pub fn break_document(&mut self, breakage: Breakage) {
        self.breakages.push(breakage);
    }

    /// Corrects an error of the document.
    pub fn repair(&mut self, breakage: Breakage) {
        if let Some(n) = self.breakages.iter().position(|other| *other == breakage) {
            self.breakages.remove(n);
        }
    }

    /// Returns the token of a chat client, or a forged one.
    #[must_use]
    pub fn token(&self, client: usize, is_forged: bool) -> String {
        self.secret(CLIENTS[client], if is_forged { u32::MAX } else { self.current["agent_chat"] })
    }

    /// Returns the token that the proxy sends to the agent.
    #[must_use]
    pub fn agent_token(&self) -> String {
        self.secret(CLIENTS[0], u32::MAX - 1)
    }

    /// Returns the secret that the user's service gets in a header.
    #[must_use]
    pub fn service_secret(&self) -> String {
        self.secret(SERVICE, u32::MAX - 2)
    }

    /// Returns the secret, in Base64, that signs the messages to a destination.
    #[must_use]
    pub fn destination_secret(&self, destination: usize) -> String {
        self.secret(&format!("destination {}", DESTINATIONS[destination]), 0)
    }

    /// Returns the secrets document.
    #[must_use]
    pub fn document(&self) -> String {
        if self.breakages.contains(&Breakage::Document) {
            return "{\"vapi\": ".to_owned();
        }
        let part = |(part, numbers): (&&'static str, &Vec<u32>)| {
            let is_broken = self.breakages.contains(&Breakage::Part(part));
            ((*part).to_owned(), if is_broken { json!(["not a part"]) } else { self.part(part, numbers) })
        };
        let mut document = Value::Object(self.valid.iter().map(part).collect());
        let url = format!("https://{SERVICE_HOST}/answer");
        document["services"] = json!({SERVICE: {"url": url, "headers": {"x-vapi-secret": self.service_secret()}}});
        let secrets = |n: usize| json!([format!("whsec_{}", self.destination_secret(n))]);
        let when = json!([{"source": "vapi"}, {"source": "ada", "where": {"/marker": ARCHIVED_MARKER}}]);
        let [crm, archive] = DESTINATIONS;
        document["destinations"] = json!({
            crm: {"url": format!("https://{crm}{DESTINATION_DOMAIN}/hook"), "signing_secrets": secrets(0)},
            archive: {"url": format!("https://{archive}{DESTINATION_DOMAIN}/hook"), "signing_secrets": secrets(1),
                      "when": when, "order": "none"},
        });
        document.to_string()
    }

    /// Returns when the last secret of a part was removed, in milliseconds since 1970; `None` if none was.
    #[must_use]
    pub fn removed_at(&self, part: &str) -> Option<i64> {
        self.removed.get(part).map(|(_, at)| *at)
    }

    /// Signs a delivery at a time. An attacker signs with a secret that was never valid, or with the last one
    /// that was removed.
    #[must_use]
    pub fn sign(
        &self,
        source: &dyn Source,
        message_id: &str,
        body: &[u8],
        at: gatehouse_payload::time::Timestamp,
        signer: Signer,
    ) -> Vec<(String, String)> {
        let part = source.profile().secrets.name;
        let number = match signer {
            Signer::Vendor | Signer::Tampered => self.current[part],
            Signer::WrongSecret => u32::MAX,
            Signer::RemovedSecret => self.removed.get(part).map_or(u32::MAX, |(number, _)| *number),
        };
        let document = json!({part: self.part(part, &[number])}).to_string();
        let secrets = Secrets::parse_for(&[source], &document, false).unwrap_or_default();
        let headers = HeaderMap::new();
        let parts = Parts { method: &Method::POST, headers: &headers, body };
        secrets.of(source).and_then(|credentials| credentials.sign(parts, message_id, at)).unwrap_or_default()
    }

    /// Whether a text shows a secret or a token: one that was ever valid, or a forged one.
    #[must_use]
    pub fn are_shown_in(&self, text: &str) -> bool {
        self.ever.iter().any(|secret| text.contains(secret.as_str()))
    }

    fn remember(&mut self, part: &str, number: u32) {
        let owners = if part == "agent_chat" { CLIENTS.to_vec() } else { vec![part] };
        let secrets: Vec<String> = owners.into_iter().map(|owner| self.secret(owner, number)).collect();
        self.ever.extend(secrets);
    }

    fn part(&self, part: &str, numbers: &[u32]) -> Value {
        match part {
            "vapi" => {
                let values: Vec<String> = numbers.iter().map(|n| self.secret(part, *n)).collect();
                json!({"schemes": [{"kind": "bearer", "header": "x-vapi-secret", "prefix": "", "values": values}]})
            }
            "agent_chat" => {
                let client = |(index, id): (usize, &&str), n: &u32| {
                    let mut client = json!({"id": id, "token": self.secret(id, *n), "agents": ["*"]});
                    match index {
                        1 => client["limits"] = json!({"concurrent": CONCURRENT_TURNS}),
                        2 => client["limits"] = json!({"per_minute": TURNS_PER_MINUTE}),
                        _ => {}
                    }
                    client
                };
                let of = |n| CLIENTS.iter().enumerate().map(move |entry| client(entry, n));
                let clients: Vec<Value> = numbers.iter().flat_map(of).collect();
                json!({"clients": clients, "agents": {AGENT: {"url": AGENT_URL, "dialect": "ag-ui", "token": self.agent_token()}}})
            }
            _ => {
                let secrets = numbers.iter().map(|n| format!("whsec_{}", self.secret(part, *n)));
                json!({"signing_secrets": secrets.collect::<Vec<_>>()})
            }
        }
    }

    /// Returns a secret: hexadecimal for Vapi and chat clients, otherwise Base64.
    fn secret(&self, owner: &str, number: u32) -> String {
        let hash = Sha256::digest(format!("{}/{owner}/{number}", self.seed));
        if owner == "vapi" || CLIENTS.contains(&owner) { HEXLOWER.encode(&hash) } else { BASE64.encode(&hash) }
    }
}
