//! A secrets document as a whole: the parts of all vendors, the clients and agents of agent-chat, the services and the
//! destinations.

use gatehouse_ag_kit::AgKit;
use gatehouse_chat::AgentChat;
use gatehouse_deliveries::Destinations;
use gatehouse_services::{PART, Services};
use gatehouse_vendor::{SecretsDocument, Source, UnreadableSecrets};
use gatehouse_vendors::Secrets;

/// The parsed parts of a secrets document, and its defects.
#[derive(Debug)]
pub(crate) struct AllSecrets {
    pub(crate) vendors: Secrets,
    pub(crate) chat: AgentChat,
    pub(crate) services: Services,
    pub(crate) destinations: Destinations,
    /// Descriptions of the defects, each with its place and without the value.
    pub(crate) defects: Vec<String>,
}

impl AllSecrets {
    /// Reads a document. The values published for development are rejected unless `development` is set.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub(crate) fn parse(text: &str, development: bool) -> Result<Self, UnreadableSecrets> {
        let vendors = Secrets::parse(text, development)?;
        let document = SecretsDocument::parse(text, development)?;
        let (chat, chat_defects) = document.read(&AgKit.profile().secrets);
        let (services, service_defects) = document.read(&PART);
        let (destinations, destination_defects) = document.read(&gatehouse_deliveries::PART);
        let mut defects = vendors.defects.clone();
        // Both readers report a part that appears twice.
        defects.extend(chat_defects.into_iter().filter(|defect| !vendors.defects.contains(defect)));
        defects.extend(service_defects);
        defects.extend(destination_defects);
        Ok(AllSecrets { vendors, chat, services, destinations, defects })
    }

    /// Whether a part of the document opens anything.
    pub(crate) fn is_open(&self, part: &str) -> bool {
        if part == AgKit.profile().secrets.name {
            return self.chat.is_open();
        }
        self.vendors.part(part).is_some_and(|credentials| credentials.is_open())
    }
}
