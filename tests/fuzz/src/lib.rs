//! What must hold of any input whatever. Each module is a fuzz target; its seeds are files in `seeds/`.

pub mod delivery;
pub mod door;
pub mod payload;
pub mod sse;
pub mod verify;
