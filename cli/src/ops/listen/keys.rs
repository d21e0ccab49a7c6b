//! Single keys on a terminal.

use std::io::{IsTerminal, Read};

use tokio::sync::mpsc;

#[cfg(unix)]
use crate::shell::TerminalMode;

/// A key with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `r`
    Resend,
    /// `d`
    Details,
}

/// The keys that are pressed. On a terminal, they are read without Enter until this is dropped.
#[derive(Debug)]
pub(super) struct Keys {
    pressed: Option<mpsc::UnboundedReceiver<Key>>,
    #[cfg(unix)]
    _mode: Option<TerminalMode>,
}

impl Keys {
    /// Returns keys that are never pressed.
    pub(super) fn none() -> Keys {
        Keys {
            pressed: None,
            #[cfg(unix)]
            _mode: None,
        }
    }

    /// Listens for keys if standard input and output are terminals.
    #[cfg(unix)]
    pub(super) fn listen() -> Keys {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Keys::none();
        }
        let Some(mode) = TerminalMode::of_keys() else { return Keys::none() };
        let (sender, pressed) = mpsc::unbounded_channel();
        // A plain thread rather than a blocking task: the runtime would wait for such a task at the end.
        std::thread::spawn(move || {
            for byte in std::io::stdin().lock().bytes().map_while(Result::ok) {
                let key = match byte {
                    b'r' => Key::Resend,
                    b'd' => Key::Details,
                    _ => continue,
                };
                if sender.send(key).is_err() {
                    return;
                }
            }
        });
        Keys { pressed: Some(pressed), _mode: Some(mode) }
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> Keys {
        Keys::none()
    }

    pub(super) fn are_available(&self) -> bool {
        self.pressed.is_some()
    }

    /// Waits for the next key.
    pub(super) async fn next(&mut self) -> Key {
        match &mut self.pressed {
            Some(pressed) => match pressed.recv().await {
                Some(key) => key,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }
}
