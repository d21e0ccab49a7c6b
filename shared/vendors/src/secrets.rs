//! The credentials of every vendor, read from one secrets document.

use std::fmt;
use std::sync::Arc;

use gatehouse_vendor::secrets::{DESTINATIONS, SERVICES};
use gatehouse_vendor::{Credentials, SecretsDocument, Source, UnreadableSecrets};

use crate::SOURCES;

/// The credentials of every source, for tools that handle all of them. A function reads only its own vendor's part.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The credentials by the name of their part.
    credentials: Vec<(&'static str, Arc<dyn Credentials>)>,
    /// The defects of the document. Each gives the place and the problem, without the value.
    pub defects: Vec<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("defects", &self.defects).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Reads a document. The values published for development are rejected unless `development` is set.
    ///
    /// # Errors
    /// If `document` is not a JSON object.
    pub fn parse(document: &str, development: bool) -> Result<Self, UnreadableSecrets> {
        Self::parse_for(&SOURCES, document, development)
    }

    /// Reads a document for the given sources.
    ///
    /// # Errors
    /// If `document` is not a JSON object.
    pub fn parse_for(sources: &[&dyn Source], document: &str, development: bool) -> Result<Self, UnreadableSecrets> {
        let document = SecretsDocument::parse(document, development)?;
        let mut secrets = Secrets::default();
        for source in sources {
            let spec = source.profile().secrets;
            // Two sources of one vendor share a part.
            if secrets.part(spec.name).is_none() {
                let mut reader = document.reader(&spec);
                secrets.credentials.push((spec.name, source.credentials(&mut reader).into()));
                secrets.defects.append(&mut reader.defects);
            }
        }
        let vendors = secrets.credentials.iter().map(|(name, _)| *name);
        let parts: Vec<&str> = vendors.chain([SERVICES, DESTINATIONS]).collect();
        secrets.defects.extend(document.unknown_members(&parts));
        Ok(secrets)
    }

    /// Returns the credentials of a source; `None` for a source that was not read.
    #[must_use]
    pub fn of(&self, source: &dyn Source) -> Option<&dyn Credentials> {
        self.part(source.profile().secrets.name)
    }

    /// Returns the credentials in a part of the document.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&dyn Credentials> {
        self.credentials.iter().find(|(known, _)| *known == name).map(|(_, credentials)| &**credentials)
    }
}
