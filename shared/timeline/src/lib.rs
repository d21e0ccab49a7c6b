#![doc = include_str!("../README.md")]

mod fold;

pub use fold::{fold, fold_with};
pub use gatehouse_vendor::{Conversation, Message, State};
