//! Properties that hold for every input. Each module except `delivery` is a fuzz target; `seeds/` has its seeds.

pub mod delivery;
pub mod payload;
pub mod receiver;
pub mod sse;
pub mod verify;
