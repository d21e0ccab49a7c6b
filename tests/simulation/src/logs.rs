//! The log lines of the functions. The model checks that none shows content or a secret, and reads outcomes from them.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::world::World;

/// Sends the log lines of this thread to the model of `world`, until the guard is dropped.
#[must_use]
pub fn observe(world: &World) -> tracing::subscriber::DefaultGuard {
    let lines = Lines(world.clone()).with_filter(LevelFilter::INFO);
    tracing::subscriber::set_default(tracing_subscriber::registry().with(lines))
}

struct Lines(World);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let checked = {
            let state = self.0.state();
            state.model.logged(&line, &state.keys)
        };
        self.0.check(checked);
    }
}

/// A log line.
#[derive(Debug, Default)]
pub struct Line {
    /// All fields, as text.
    pub text: String,
    /// The function that wrote it.
    pub function: String,
    /// The outcome that it reports.
    pub outcome: String,
    /// The message that it is about.
    pub message_id: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.text, "{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "function" => value.clone_into(&mut self.function),
            "outcome" => value.clone_into(&mut self.outcome),
            "message_id" => value.clone_into(&mut self.message_id),
            _ => {}
        }
        let _ = write!(self.text, "{}={value} ", field.name());
    }
}
