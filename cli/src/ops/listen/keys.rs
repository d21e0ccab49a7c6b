//! Single keys on a terminal.

use std::io::{IsTerminal, Read};

use tokio::sync::mpsc;

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
    _mode: Option<SingleKeys>,
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
        let Some(mode) = SingleKeys::set() else { return Keys::none() };
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

/// The mode of a terminal that passes single keys on and does not show them. Dropping it restores the mode before.
#[cfg(unix)]
#[derive(Debug)]
struct SingleKeys(rustix::termios::Termios);

#[cfg(unix)]
impl SingleKeys {
    /// Sets the mode; `None` if the terminal does not accept it.
    fn set() -> Option<SingleKeys> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut mode = before.clone();
        mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &mode).ok()?;
        Some(SingleKeys(before))
    }
}

#[cfg(unix)]
impl Drop for SingleKeys {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}
