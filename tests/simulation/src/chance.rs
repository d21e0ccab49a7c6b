//! Seeded choices. Each action and each request has its own random numbers, so that removing an action changes little
//! else.

use gatehouse_memory::Choose;

/// A stream of random numbers that depends only on its seed and its name.
#[derive(Debug, Clone)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// Creates the stream with this name, a list of numbers.
    #[must_use]
    pub fn of(seed: u64, name: &[u64]) -> Self {
        Chance(fastrand::Rng::with_seed(name.iter().fold(mix(seed), |mixed, part| mix(mixed ^ mix(*part)))))
    }

    /// Returns a number from `from` to below `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        if to <= from { from } else { self.0.u64(from..to) }
    }

    /// Returns true in `per_mille` of 1,000 cases.
    pub fn happens(&mut self, per_mille: u64) -> bool {
        self.between(0, 1000) < per_mille
    }

    /// Returns one of the items.
    ///
    /// # Panics
    /// If there are no items.
    pub fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.0.usize(..items.len())]
    }

    /// Returns a new seed.
    pub fn seed(&mut self) -> u64 {
        self.0.u64(..)
    }
}

impl Choose for Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit.max(1))
    }
}

/// Mixes the bits of a number (the finalizer of splitmix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
