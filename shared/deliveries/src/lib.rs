#![doc = include_str!("../README.md")]

pub mod deliver;
pub mod destination;
pub mod doorbell;
pub mod filter;
pub mod lane;
pub mod message;
pub mod outbox;
pub mod request;
pub mod schedule;
pub mod send;
pub mod table;

pub use deliver::Deliverer;
pub use destination::{Destination, Destinations, PART};
pub use message::{Message, Shape};
pub use outbox::Outbox;
pub use table::DeliveryTable;
