//! Edits a secrets document. A change leaves all other members as they are.

use std::fmt;
use std::str::FromStr;

use gatehouse_ag_kit::AgKit;
use gatehouse_deliveries::Destination;
use gatehouse_local::Error;
use gatehouse_payload::json::members;
use gatehouse_vendor::secrets::{DESTINATIONS, SERVICES, is_name};
use gatehouse_vendor::{CredentialsShape, SchemeSummary, Source};
use gatehouse_vendors::{of_vendor, vendors};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::all::AllSecrets;

/// A credential: the owner of values in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// The signing secrets in a vendor's part.
    SigningSecrets(&'static str),
    /// A scheme in a vendor's part, by its header; `None` means the first scheme.
    Scheme(&'static str, Option<String>),
    /// A client of agent-chat, by its id.
    Client(String),
    /// An agent of agent-chat, by its id. Its only value is the token, which it may lack.
    Agent(String),
    /// The signing secrets of a service, by its name.
    Service(String),
    /// The signing secrets of a destination, by its name.
    Destination(String),
}

/// Returns the forms of a credential on the command line.
pub(crate) fn forms() -> String {
    let part = |vendor: &'static str| {
        let profile = of_vendor(vendor)?.profile();
        match profile.shape {
            CredentialsShape::SigningSecrets => Some(vendor.to_owned()),
            CredentialsShape::Schemes => Some(format!("{vendor}, {vendor}:HEADER (the scheme with that header)")),
            CredentialsShape::Nothing => None,
        }
    };
    let parts: Vec<String> = vendors().filter_map(part).collect();
    format!("{}, client:ID, agent:ID, service:NAME or destination:NAME", parts.join(", "))
}

impl FromStr for Credential {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (owner, detail) = text.split_once(':').map_or((text, None), |(owner, detail)| (owner, Some(detail)));
        let unknown = || format!("there is no credential {text}; use {}", forms());
        let detail = detail.map(str::to_owned);
        match (owner, &detail) {
            (_, Some(detail)) if detail.is_empty() => return Err(unknown()),
            ("client", Some(id)) => return Ok(Credential::Client(id.clone())),
            ("agent", Some(id)) => return Ok(Credential::Agent(id.clone())),
            ("service", Some(name)) if is_name(name) => return Ok(Credential::Service(name.clone())),
            ("destination", Some(name)) if is_name(name) => return Ok(Credential::Destination(name.clone())),
            ("service" | "destination", Some(_)) => {
                return Err(format!("the name of a {owner} has 1 to 64 letters, digits, - and _"));
            }
            _ => {}
        }
        let profile = of_vendor(owner).ok_or_else(unknown)?.profile();
        match (profile.shape, detail) {
            (CredentialsShape::SigningSecrets, None) => Ok(Credential::SigningSecrets(profile.secrets.name)),
            (CredentialsShape::Schemes, header) => Ok(Credential::Scheme(profile.secrets.name, header)),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::SigningSecrets(part) | Credential::Scheme(part, None) => write!(f, "{part}"),
            Credential::Scheme(part, Some(header)) => write!(f, "{part}:{header}"),
            Credential::Client(id) => write!(f, "client:{id}"),
            Credential::Agent(id) => write!(f, "agent:{id}"),
            Credential::Service(name) => write!(f, "service:{name}"),
            Credential::Destination(name) => write!(f, "destination:{name}"),
        }
    }
}

impl Credential {
    /// Returns the top-level member that has the values.
    fn part(&self) -> &'static str {
        match self {
            Credential::SigningSecrets(part) | Credential::Scheme(part, _) => part,
            Credential::Client(_) | Credential::Agent(_) => AgKit.profile().secrets.name,
            Credential::Service(_) => SERVICES,
            Credential::Destination(_) => DESTINATIONS,
        }
    }

    /// Returns the beginning of the defects that the credential can cause.
    fn place(&self) -> String {
        match self {
            Credential::Service(name) | Credential::Destination(name) => format!("{}.{name}", self.part()),
            _ => self.part().to_owned(),
        }
    }
}

/// Returns the number of a credential's usable values.
fn usable(secrets: &AllSecrets, credential: &Credential) -> usize {
    let schemes = |part| secrets.vendors.part(part).map(|credentials| credentials.schemes()).unwrap_or_default();
    match credential {
        Credential::SigningSecrets(part) => schemes(part).iter().map(|scheme| scheme.values).sum(),
        Credential::Scheme(part, header) => {
            let matches = |scheme: &SchemeSummary| match (header, &scheme.header) {
                (Some(header), Some(known)) => known.eq_ignore_ascii_case(header),
                (header, _) => header.is_none(),
            };
            schemes(part).into_iter().find(matches).map_or(0, |scheme| scheme.values)
        }
        Credential::Client(id) => secrets.chat.clients.iter().filter(|client| client.id == *id).count(),
        Credential::Agent(id) => usize::from(secrets.chat.agents.contains_key(id)),
        Credential::Service(name) => secrets.services.get(name).map_or(0, |service| service.signing_keys.len()),
        Credential::Destination(name) => secrets.destinations.get(name).map_or(0, |found| found.signing_keys.len()),
    }
}

/// Whether any object in the document has two members with the same name.
fn has_repeated_member(value: &str) -> bool {
    let members = members(value);
    let elements: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
    let is_repeated =
        |n: usize| members.iter().take(n).any(|before| Some(&before.0) == members.get(n).map(|member| &member.0));
    (0..members.len()).any(is_repeated)
        || members.iter().map(|member| member.1).chain(elements).any(|value| has_repeated_member(value.get()))
}

/// A document that is being changed.
#[derive(Debug)]
pub(crate) struct Document {
    value: Value,
    /// The defects before any change.
    defects: Vec<String>,
}

impl Document {
    /// Parses a document; `None` is an empty document.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Error> {
        let text = text.unwrap_or("{}");
        let defects = AllSecrets::parse(text, false)?.defects;
        if has_repeated_member(text) {
            return Err("the document has two members with the same name in one object; remove one of them".into());
        }
        let value = serde_json::from_str(text).map_err(|_| "a number in the document is out of range; remove it")?;
        Ok(Document { value, defects })
    }

    /// Returns the number of a credential's values, including unusable ones.
    pub(crate) fn count(&self, credential: &Credential) -> usize {
        match credential {
            Credential::Client(id) => self.clients().iter().filter(|client| client["id"] == id.as_str()).count(),
            _ => self.list(credential).map_or(0, Vec::len),
        }
    }

    /// Replaces all values. Creates a missing bearer scheme, or a missing client that may call `agents`.
    pub(crate) fn set(&mut self, credential: &Credential, values: &[String], agents: &[String]) -> Result<(), Error> {
        if let Credential::Client(id) = credential {
            let mut template = self.clients().iter().find(|client| client["id"] == id.as_str()).cloned();
            if !agents.is_empty() {
                template.get_or_insert_with(|| json!({"id": id}))["agents"] = json!(agents);
            }
            let template = template
                .ok_or_else(|| format!("there is no client {id} yet; list the agents it may call with --agents"))?;
            let clients = self.clients_mut()?;
            clients.retain(|client| client["id"] != id.as_str());
            clients.extend(values.iter().map(|value| with_token(&template, value)));
            return Ok(());
        }
        let values: Vec<Value> = values.iter().map(|value| value.as_str().into()).collect();
        *self.list_or_create(credential)? = values;
        Ok(())
    }

    /// Inserts a value before the existing ones.
    pub(crate) fn add(&mut self, credential: &Credential, value: &str) -> Result<(), Error> {
        if let Credential::Client(id) = credential {
            let clients = self.clients_mut()?;
            let index = clients.iter().position(|client| client["id"] == id.as_str()).unwrap_or_default();
            let new = with_token(&clients.get(index).cloned().unwrap_or_default(), value);
            clients.insert(index, new);
        } else {
            self.list_or_create(credential)?.insert(0, value.into());
        }
        Ok(())
    }

    /// Removes all values except the first.
    pub(crate) fn keep_first(&mut self, credential: &Credential) -> Result<(), Error> {
        if let Credential::Client(id) = credential {
            let mut found = false;
            let mut is_first = |client: &Value| client["id"] != id.as_str() || !std::mem::replace(&mut found, true);
            self.clients_mut()?.retain(&mut is_first);
        } else {
            self.list_or_create(credential)?.truncate(1);
        }
        Ok(())
    }

    /// Returns the number of a credential's usable values.
    pub(crate) fn usable(&self, credential: &Credential) -> usize {
        AllSecrets::parse(&self.value.to_string(), false).map_or(0, |secrets| usable(&secrets, credential))
    }

    /// Returns the text to write.
    ///
    /// # Errors
    /// If fewer than `wanted` values are usable, or if the change caused a new defect.
    pub(crate) fn text(&self, credential: &Credential, wanted: usize) -> Result<String, Error> {
        let text = format!("{:#}\n", self.value);
        let secrets = AllSecrets::parse(&text, false)?;
        let has_enough = usable(&secrets, credential) >= wanted;
        let place = credential.place();
        let is_in_part = |defect: &str| defect.starts_with(&place);
        let is_new = |defect: &&String| if is_in_part(defect) { !has_enough } else { !self.defects.contains(defect) };
        let new: Vec<&str> = secrets.defects.iter().filter(is_new).map(String::as_str).collect();
        if new.is_empty() && has_enough {
            Ok(text)
        } else {
            Err(format!("nothing is written: {}", new.join("; ")).into())
        }
    }

    fn list(&self, credential: &Credential) -> Option<&Vec<Value>> {
        match credential {
            Credential::SigningSecrets(part) => self.value[*part]["signing_secrets"].as_array(),
            Credential::Scheme(part, header) => {
                let mut schemes = self.value[*part]["schemes"].as_array()?.iter();
                schemes.find(|scheme| has_header(scheme, header.as_deref()))?["values"].as_array()
            }
            Credential::Service(name) | Credential::Destination(name) => {
                self.value[credential.part()][name]["signing_secrets"].as_array()
            }
            Credential::Client(_) | Credential::Agent(_) => None,
        }
    }

    fn list_or_create(&mut self, credential: &Credential) -> Result<&mut Vec<Value>, Error> {
        let list = match credential {
            Credential::SigningSecrets(part) => self.part(part)?.entry("signing_secrets").or_insert_with(|| json!([])),
            Credential::Scheme(part, header) => {
                let schemes = self.part(part)?.entry("schemes").or_insert_with(|| json!([])).as_array_mut();
                let schemes = schemes.ok_or_else(|| format!("{part}.schemes is not a list"))?;
                let index = schemes.iter().position(|scheme| has_header(scheme, header.as_deref()));
                let index = index.unwrap_or_else(|| {
                    schemes.push(bearer(header.as_deref().unwrap_or("authorization")));
                    schemes.len() - 1
                });
                let scheme = schemes.get_mut(index).and_then(Value::as_object_mut);
                let scheme = scheme.ok_or_else(|| format!("a scheme of {part} is not an object"))?;
                scheme.entry("values").or_insert_with(|| json!([]))
            }
            Credential::Service(name) | Credential::Destination(name) => {
                self.named(credential.part(), name)?.entry("signing_secrets").or_insert_with(|| json!([]))
            }
            Credential::Client(_) | Credential::Agent(_) => {
                return Err(format!("{credential} does not have a list of values").into());
            }
        };
        Ok(list.as_array_mut().ok_or_else(|| format!("the values of {credential} are not a list"))?)
    }

    fn part(&mut self, name: &str) -> Result<&mut serde_json::Map<String, Value>, Error> {
        let part = self.value.as_object_mut().map(|parts| parts.entry(name).or_insert_with(|| json!({})));
        Ok(part.and_then(Value::as_object_mut).ok_or_else(|| format!("{name} is not an object"))?)
    }

    fn named(&mut self, part: &str, name: &str) -> Result<&mut serde_json::Map<String, Value>, Error> {
        let object = self.part(part)?.entry(name).or_insert_with(|| json!({}));
        Ok(object.as_object_mut().ok_or_else(|| format!("{part}.{name} is not an object"))?)
    }

    /// Changes members of the agent `id`; `null` removes a member.
    pub(crate) fn set_agent(&mut self, id: &str, members: Vec<(&str, Value)>) -> Result<(), Error> {
        let agents = self.part(AgKit.profile().secrets.name)?;
        agents.entry("clients").or_insert_with(|| json!([]));
        let agents = agents.entry("agents").or_insert_with(|| json!({}));
        let agent = agents.as_object_mut().map(|agents| agents.entry(id).or_insert_with(|| json!({})));
        let agent =
            agent.and_then(Value::as_object_mut).ok_or_else(|| format!("agent_chat.agents.{id} is not an object"))?;
        for (member, value) in members {
            if value.is_null() {
                agent.remove(member);
            } else {
                agent.insert(member.to_owned(), value);
            }
        }
        Ok(())
    }

    /// Changes members of the service or the destination `name` in `part`; `null` removes a member.
    ///
    /// # Errors
    /// If it then cannot be used. The error names the defect.
    pub(crate) fn set_named(&mut self, part: &str, name: &str, members: Vec<(&str, Value)>) -> Result<(), Error> {
        let object = self.named(part, name)?;
        for (member, value) in members {
            if value.is_null() {
                object.remove(member);
            } else {
                object.insert(member.to_owned(), value);
            }
        }
        let secrets = AllSecrets::parse(&self.value.to_string(), false)?;
        let is_usable = if part == SERVICES {
            secrets.services.get(name).is_some()
        } else {
            secrets.destinations.get(name).is_some()
        };
        if is_usable {
            return Ok(());
        }
        let place = format!("{part}.{name}");
        let defects: Vec<String> = secrets.defects.into_iter().filter(|defect| defect.starts_with(&place)).collect();
        Err(format!("nothing is written: {}", defects.join("; ")).into())
    }

    /// Returns the destination `name`, if there is one that can be used.
    pub(crate) fn destination(&self, name: &str) -> Result<Option<Destination>, Error> {
        Ok(AllSecrets::parse(&self.value.to_string(), false)?.destinations.get(name).cloned())
    }

    /// Removes the destination `name`. Returns whether there was one.
    pub(crate) fn remove_destination(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.part(DESTINATIONS)?.remove(name).is_some())
    }

    /// Returns the text to write after a removal.
    pub(crate) fn remaining(&self) -> String {
        format!("{:#}\n", self.value)
    }

    fn clients(&self) -> &[Value] {
        self.value["agent_chat"]["clients"].as_array().map_or(&[], Vec::as_slice)
    }

    fn clients_mut(&mut self) -> Result<&mut Vec<Value>, Error> {
        let chat = self.part("agent_chat")?;
        chat.entry("agents").or_insert_with(|| json!({}));
        let clients = chat.entry("clients").or_insert_with(|| json!([]));
        Ok(clients.as_array_mut().ok_or("agent_chat.clients is not a list")?)
    }
}

fn with_token(client: &Value, token: &str) -> Value {
    let mut client = client.clone();
    client["token"] = token.into();
    client
}

/// Whether a scheme reads this header; `None` matches every scheme.
fn has_header(scheme: &Value, header: Option<&str>) -> bool {
    let scheme_header = scheme["header"].as_str().or_else(|| scheme["signature_header"].as_str());
    header.is_none_or(|header| scheme_header.is_some_and(|name| name.eq_ignore_ascii_case(header)))
}

fn bearer(header: &str) -> Value {
    let prefix = if header.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
    json!({"kind": "bearer", "header": header, "prefix": prefix, "values": []})
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const TOKEN: &str = "a-token-of-some-length";

    const ADA: Credential = Credential::SigningSecrets("ada");

    fn credential(text: &str) -> Credential {
        text.parse().unwrap()
    }

    fn set(document: &mut Document, name: &str, values: &[&str], agents: &[&str]) -> Result<(), String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        document.set(&credential(name), &owned(values), &owned(agents)).map_err(|error| error.to_string())
    }

    fn value(document: &Document) -> Value {
        serde_json::from_str(&document.text(&ADA, 0).unwrap()).unwrap()
    }

    #[test]
    fn set_adds_values_and_leaves_other_members() {
        let mut document = Document::read(Some(r#"{"agntix":{"signing_secrets":["oops"]}}"#)).unwrap();
        set(&mut document, "ada", &[OLD], &[]).unwrap();
        set(&mut document, "vapi", &[TOKEN], &[]).unwrap();
        set(&mut document, "vapi:X-Vapi-Secret", &[TOKEN], &[]).unwrap();
        assert!(set(&mut document, "client:web", &[TOKEN], &[]).unwrap_err().contains("--agents"));
        set(&mut document, "client:web", &[TOKEN], &["support"]).unwrap();
        let bearer = |header: &str, prefix: &str| json!({"kind": "bearer", "header": header, "prefix": prefix, "values": [TOKEN]});
        assert_eq!(
            value(&document),
            json!({"ada": {"signing_secrets": [OLD]}, "agntix": {"signing_secrets": ["oops"]},
                "vapi": {"schemes": [bearer("authorization", "Bearer "), bearer("X-Vapi-Secret", "")]},
                "agent_chat": {"clients": [{"id": "web", "token": TOKEN, "agents": ["support"]}], "agents": {}}})
        );
    }

    #[test]
    fn rotation_adds_new_value_first_and_then_keeps_only_it() {
        let mut document = Document::read(None).unwrap();
        set(&mut document, "ada", &[OLD], &[]).unwrap();
        set(&mut document, "client:web", &[TOKEN], &["*"]).unwrap();
        set(&mut document, "client:app", &["the-token-of-another"], &["*"]).unwrap();
        document.add(&credential("ada"), NEW).unwrap();
        document.add(&credential("client:web"), "a-newer-token-of-some-length").unwrap();
        assert_eq!([document.count(&credential("ada")), document.count(&credential("client:web"))], [2, 2]);
        assert_eq!(value(&document)["ada"]["signing_secrets"], json!([NEW, OLD]));
        document.keep_first(&credential("ada")).unwrap();
        document.keep_first(&credential("client:web")).unwrap();
        let value = value(&document);
        assert_eq!(value["ada"]["signing_secrets"], json!([NEW]));
        let tokens: Vec<&str> =
            value["agent_chat"]["clients"].as_array().unwrap().iter().filter_map(|c| c["token"].as_str()).collect();
        assert_eq!(tokens, ["a-newer-token-of-some-length", "the-token-of-another"]);
    }

    /// A document of a stack has the secrets of vendors before it has the first destination.
    #[test]
    fn services_and_destinations_are_added_to_any_document() {
        for part in [SERVICES, DESTINATIONS] {
            let mut document = Document::read(Some("{}")).unwrap();
            set(&mut document, "ada", &[NEW], &[]).unwrap();
            document.set_named(part, "crm", vec![("url", json!("https://crm.example.com"))]).unwrap();
            let text = match part {
                SERVICES => document.text(&Credential::Service("crm".to_owned()), 0),
                _ => document.text(&Credential::Destination("crm".to_owned()), 0),
            };
            let secrets = AllSecrets::parse(&text.unwrap(), false).unwrap();
            assert_eq!(secrets.defects, Vec::<String>::new(), "{part}");
        }
    }

    #[test]
    fn invalid_change_is_refused_without_showing_value() {
        for (name, value) in [("ada", "whsec_oops"), ("vapi", "short"), ("client:web", "short"), ("ada", "")] {
            let mut document = Document::read(None).unwrap();
            set(&mut document, name, &[value], &["*"]).unwrap();
            let error = document.text(&credential(name), 1).unwrap_err().to_string();
            assert!(
                error.starts_with("nothing is written: ") && !error.contains("oops") && !error.contains("short\""),
                "{error}"
            );
        }
        let mut document = Document::read(None).unwrap();
        set(&mut document, "ada", &[OLD, OLD], &[]).unwrap();
        assert!(document.text(&ADA, 2).is_err(), "the same value twice counts once");
    }

    #[test]
    fn old_defects_neither_hide_new_ones_nor_block_changes() {
        let bad = r#"{"ada":{"signing_secrets":["oops"]},"vapi":{"schemes":[{"kind":"bearer","header":"x","prefix":"","typo":1,"values":[]}]}}"#;
        let mut document = Document::read(Some(bad)).unwrap();
        set(&mut document, "ada", &["stillbad"], &[]).unwrap();
        assert!(document.text(&ADA, 1).is_err());
        let mut document = Document::read(Some(bad)).unwrap();
        document.add(&ADA, OLD).unwrap();
        assert!(document.text(&ADA, document.usable(&ADA)).is_ok());
        document.add(&credential("vapi"), TOKEN).unwrap();
        assert!(document.text(&credential("vapi"), 1).is_err(), "the whole scheme is unusable");
    }

    #[test]
    fn invalid_document_is_not_changed() {
        for (text, name) in
            [("[]", "ada"), ("whsec_x", "ada"), (r#"{"ada":7}"#, "ada"), (r#"{"vapi":{"schemes":[7]}}"#, "vapi")]
        {
            let changed = Document::read(Some(text)).map(|mut document| set(&mut document, name, &[OLD], &[]));
            assert!(changed.is_err() || changed.unwrap().is_err(), "{text}");
        }
        for wrong in ["", "svix", "ada:1", "client", "client:", "vapi:"] {
            assert!(wrong.parse::<Credential>().is_err(), "{wrong}");
        }
    }
}
