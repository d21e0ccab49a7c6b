//! The commands that look into a running deployment, as whoever is on call runs them.

mod bed;
mod dead_letters;
mod deployed;
mod doctor;
mod erase;
mod events;
mod formats;
mod help;
mod incident;
mod replay;
mod state;
