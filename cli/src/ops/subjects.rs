//! Subjects as users write them: whole, with characters that must be escaped, or only the vendor's id.

use futures_util::future::try_join_all;
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_vendor::Profile;
use gatehouse_vendors::SOURCES;

use super::deployment::Deployment;

/// Reads a whole subject. Escapes its id, unless it is escaped already.
pub(crate) fn parse(text: &str) -> Option<Subject> {
    let subject = Subject::parse(text)?;
    let id = text.splitn(3, ':').nth(2).unwrap_or_default();
    let is_escaped = |c: char| c.is_ascii_alphanumeric() || "-._~%=".contains(c);
    if id.chars().all(is_escaped) {
        return Some(subject);
    }
    Some(Subject::new(subject.vendor(), subject.kind(), id))
}

/// Returns the subject that a text names: a whole subject, or the only one that has events under this id.
///
/// # Errors
/// If DynamoDB does not respond.
pub(crate) async fn of(deployment: &Deployment, text: &str) -> Result<Option<Subject>, Error> {
    match parse(text) {
        Some(subject) => Ok(Some(subject)),
        None => find(deployment, text).await,
    }
}

/// Returns the subject with events that a text names. If several vendors have the id, it is the first one's.
///
/// # Errors
/// If DynamoDB does not respond.
pub(crate) async fn find(deployment: &Deployment, text: &str) -> Result<Option<Subject>, Error> {
    let candidates = match parse(text) {
        Some(subject) => vec![subject],
        None => candidates(text, SOURCES.into_iter().map(|source| source.profile())),
    };
    first_with_events(deployment, candidates).await
}

/// Returns the first of some subjects that has events.
///
/// # Errors
/// If DynamoDB does not respond.
async fn first_with_events(deployment: &Deployment, candidates: Vec<Subject>) -> Result<Option<Subject>, Error> {
    let found = try_join_all(candidates.iter().map(|subject| deployment.store.has_subject(subject))).await?;
    Ok(candidates.into_iter().zip(found).find(|(_, has_events)| *has_events).map(|(subject, _)| subject))
}

/// Returns, for each vendor, the subject with the id `text` and the first of its kinds with a state.
pub(crate) fn usual(text: &str, profiles: impl Iterator<Item = &'static Profile>) -> Vec<Subject> {
    let mut subjects: Vec<Subject> =
        profiles.filter_map(|profile| Some(Subject::new(profile.vendor, profile.stateful.first()?, text))).collect();
    subjects.dedup();
    subjects
}

/// Returns the subjects of all kinds that have the id `text` at some vendors.
fn candidates(text: &str, profiles: impl Iterator<Item = &'static Profile>) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for profile in profiles {
        for kind in profile.stateful {
            let subject = Subject::new(profile.vendor, kind, text);
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    subjects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_of_a_subject_is_escaped_once() {
        let escaped = "ada:conversation:konv-%C3%BC%2F1%3A2";
        for text in ["ada:conversation:konv-ü/1:2", escaped] {
            assert_eq!(parse(text).unwrap().as_str(), escaped);
        }
        for text in ["673da1f0c2b94e5f8a017b11", "ada:msg_1", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
