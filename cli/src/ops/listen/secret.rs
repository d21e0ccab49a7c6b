//! The signing secret of a listener. Each deployment has its own, which is kept in a file of the user.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use gatehouse_local::Error;
use gatehouse_vendor::signature::SigningKey;

use crate::ops::deployment::TargetArgs;
use crate::secrets::new_signing_secret;
use crate::shell::variable;

/// The variable that `--env-file` sets.
const VARIABLE: &str = "GATEHOUSE_WEBHOOK_SECRET";

/// A secret in the form `whsec_<base64>`.
#[derive(Clone)]
pub(super) struct ListenerSecret(String);

impl ListenerSecret {
    /// Returns the secret of a deployment. Creates it the first time.
    ///
    /// # Errors
    /// If its file cannot be read or written.
    pub(super) async fn of(target: &TargetArgs) -> Result<ListenerSecret, Error> {
        let name = target.identity().await?.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let file = directory()?.join(format!("listen-{name}"));
        let unusable = |error: std::io::Error| format!("the signing secret in {}: {error}", file.display());
        match std::fs::read_to_string(&file) {
            Ok(text) if SigningKey::parse(text.trim()).is_ok() => Ok(ListenerSecret(text.trim().to_owned())),
            Ok(_) => Err(format!("{} does not contain a signing secret; delete the file", file.display()).into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let secret = new_signing_secret()?;
                if let Some(directory) = file.parent() {
                    std::fs::create_dir_all(directory).map_err(unusable)?;
                }
                write_private(&file, &format!("{secret}\n")).map_err(unusable)?;
                Ok(ListenerSecret(secret))
            }
            Err(error) => Err(unusable(error).into()),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn key(&self) -> Result<SigningKey, Error> {
        Ok(SigningKey::parse(&self.0)?)
    }

    /// Sets the variable in a file of the form `NAME=value`. Keeps the other lines.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn write_to(&self, file: &Path) -> Result<(), Error> {
        let unusable = |error: std::io::Error| format!("{}: {error}", file.display());
        let before = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unusable(error).into()),
        };
        let is_other = |line: &&str| !line.trim_start().starts_with(&format!("{VARIABLE}="));
        let mut text: String = before.lines().filter(is_other).map(|line| format!("{line}\n")).collect();
        text.push_str(&format!("{VARIABLE}={}\n", self.0));
        write_private(file, &text).map_err(unusable)?;
        Ok(())
    }
}

/// Returns the directory for the state of programs of this user.
fn directory() -> Result<PathBuf, Error> {
    let state = match (variable("XDG_STATE_HOME")?, variable("HOME")?) {
        (Some(state), _) => PathBuf::from(state),
        (None, Some(home)) => Path::new(&home).join(".local/state"),
        (None, None) => {
            return Err("there is no place for the signing secret; set XDG_STATE_HOME to a directory".into());
        }
    };
    Ok(state.join("gatehouse"))
}

/// Writes a file. A new file is readable by its owner only.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)?.write_all(text.as_bytes())
}
