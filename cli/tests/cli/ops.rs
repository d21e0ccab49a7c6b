//! Tests of the commands that inspect and repair a running deployment.

mod bed;
mod check_release;
mod commands;
mod dead_letters;
mod deployed;
mod doctor;
mod erase;
mod events;
mod find;
mod formats;
mod help;
mod incident;
mod state;
