//! The source of random numbers.

use std::sync::{Arc, Mutex, PoisonError};

use gatehouse_payload::Nonce;
use gatehouse_payload::time::Timestamp;

/// A source of random bytes: the system's, or a seeded one for simulations.
#[derive(Debug, Clone, Default)]
pub enum Random {
    /// The system's random number generator.
    #[default]
    System,
    /// A generator that gives the same bytes for the same seed. Clones share it.
    Seeded(Arc<Mutex<fastrand::Rng>>),
}

impl Random {
    /// Creates a source whose bytes depend only on `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Random::Seeded(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Creates a nonce.
    ///
    /// # Errors
    /// If the system's random number generator fails.
    pub fn nonce(&self) -> Result<Nonce, getrandom::Error> {
        match self {
            Random::System => Nonce::random(),
            Random::Seeded(random) => {
                let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(Nonce::from(random.u128(..).to_be_bytes()))
            }
        }
    }

    /// Creates a UUID of version 7, so that ids sort by their time.
    ///
    /// # Errors
    /// If the system's random number generator fails.
    pub fn uuid(&self, now: Timestamp) -> Result<uuid::Uuid, getrandom::Error> {
        let nonce = self.nonce()?;
        let [a, b, c, d, e, f, g, h, i, j, ..] = *nonce.as_bytes();
        let ms = u64::try_from(now.as_millis()).unwrap_or_default();
        Ok(uuid::Builder::from_unix_timestamp_millis(ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_source_repeats_its_numbers() {
        let numbers = |random: &Random| (random.nonce().unwrap(), random.nonce().unwrap());
        assert_eq!(numbers(&Random::seeded(1)), numbers(&Random::seeded(1)));
        assert_ne!(numbers(&Random::seeded(1)), numbers(&Random::seeded(2)));
        let (first, second) = numbers(&Random::System);
        assert_ne!(first, second);
    }

    #[test]
    fn uuids_sort_by_time() {
        let random = Random::System;
        let at = |ms| random.uuid(Timestamp::clamped(ms)).unwrap();
        let (earlier, later) = (at(1_775_624_410_000), at(1_775_624_410_001));
        assert!(earlier < later);
        assert_eq!((earlier.get_version_num(), earlier.get_variant()), (7, uuid::Variant::RFC4122));
    }
}
