//! The console of an operation.

use indicatif::ProgressBar;

use super::progress;
use crate::shell::{Interrupts, note};

/// Whether a user sees an operation and can interrupt it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Console {
    /// The operation runs in a command: progress and notes go to standard error, and Ctrl-C interrupts it.
    Attached,
    /// The operation is called by a program: nothing is shown, and no signal is handled.
    Detached,
}

impl Console {
    /// Creates a progress bar. Its length is set later.
    pub(crate) fn progress(self, message: &'static str) -> ProgressBar {
        match self {
            Console::Attached => progress(message),
            Console::Detached => ProgressBar::hidden(),
        }
    }

    /// Prints a note on standard error.
    pub(crate) fn note(self, text: &str) {
        if self == Console::Attached {
            note(text);
        }
    }

    /// Receives every Ctrl-C from now on.
    pub(crate) fn interrupts(self) -> Interrupts {
        match self {
            Console::Attached => Interrupts::listen(),
            Console::Detached => Interrupts::never(),
        }
    }
}
