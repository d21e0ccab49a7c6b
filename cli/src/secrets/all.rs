//! A secrets document as a whole: the parts of all vendors, and the clients and agents of agent-chat.

use gatehouse_ag_kit::AgKit;
use gatehouse_chat::AgentChat;
use gatehouse_vendor::{SecretsDocument, Source, UnreadableSecrets};
use gatehouse_vendors::Secrets;

/// Everything that a secrets document opens, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct AllSecrets {
    pub(crate) vendors: Secrets,
    pub(crate) chat: AgentChat,
    /// What is wrong, with the place and without the value.
    pub(crate) defects: Vec<String>,
}

impl AllSecrets {
    /// Reads a document. The values published for development are rejected unless `development` is set.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub(crate) fn parse(text: &str, development: bool) -> Result<Self, UnreadableSecrets> {
        let vendors = Secrets::parse(text, development)?;
        let (chat, of_chat) = SecretsDocument::parse(text, development)?.read(&AgKit.profile().secrets);
        let mut defects = vendors.defects.clone();
        // Both readers report a part that appears twice.
        defects.extend(of_chat.into_iter().filter(|defect| !vendors.defects.contains(defect)));
        Ok(AllSecrets { vendors, chat, defects })
    }

    /// Whether a part of the document opens anything.
    pub(crate) fn is_open(&self, part: &str) -> bool {
        if part == AgKit.profile().secrets.name {
            return self.chat.is_open();
        }
        self.vendors.part(part).is_some_and(|credentials| credentials.is_open())
    }
}
