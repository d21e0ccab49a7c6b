//! The default target of a command: the variable `GATEHOUSE_STACK`, and the file `gatehouse.toml` in this folder or a
//! folder above it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_config::SdkConfig;
use clap::Args;
use gatehouse_local::Error;
use serde::Deserialize;

use crate::shell::{note, shell_quote, variable};

/// The name of the file.
const FILE: &str = "gatehouse.toml";
/// The variable with the name of a stack.
const STACK: &str = "GATEHOUSE_STACK";
/// The URL of a `gatehouse dev` with its usual port.
pub(crate) const DEFAULT_AT: &str = "http://127.0.0.1:9000";

/// The contents of `gatehouse.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The name of a stack.
    stack: Option<String>,
    /// The region of the stack.
    region: Option<String>,
    /// The profile with the credentials.
    profile: Option<String>,
    /// The URL of a `gatehouse dev`, for commands without a stack.
    at: Option<String>,
}

/// Arguments that select a stack in AWS.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deployment")]
pub(crate) struct StackArgs {
    /// Name of a deployed CloudFormation stack [default: GATEHOUSE_STACK, or `stack` in gatehouse.toml]
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// AWS region [default: AWS_REGION, or `region` in gatehouse.toml]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// AWS profile with the credentials [default: AWS_PROFILE, or `profile` in gatehouse.toml]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

impl StackArgs {
    /// Returns the name of the stack, which may be in the environment or a file; `None` if no stack is named.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) fn stack(&self) -> Result<Option<String>, Error> {
        if self.stack.is_some() {
            return Ok(self.stack.clone());
        }
        let (file, path) = read_file()?;
        let (stack, origin) = match (variable(STACK)?, file.stack) {
            (Some(stack), _) => (stack, STACK.to_owned()),
            (None, Some(stack)) => (stack, path),
            (None, None) => return Ok(None),
        };
        explain(&format!("stack {stack} ({origin})"));
        Ok(Some(stack))
    }

    /// Returns the options that select a stack in a suggested command, with a leading space.
    pub(crate) fn flags(&self, stack: &str) -> String {
        let mut flags = format!(" --stack {}", shell_quote(stack));
        for (option, value) in [("--region", &self.region), ("--profile", &self.profile)] {
            flags.extend(value.iter().map(|value| format!(" {option} {}", shell_quote(value))));
        }
        flags
    }

    /// Loads the settings to call AWS.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) async fn sdk(&self) -> Result<SdkConfig, Error> {
        let (file, _) = read_file()?;
        let has_region = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().any(is_set);
        let region = self.region.clone().or(file.region.filter(|_| !has_region));
        let profile = self.profile.clone().or(file.profile.filter(|_| !is_set("AWS_PROFILE")));
        if let Some(profile) = &profile {
            // Set once: a command has one profile.
            let _ = PROFILE.set(profile.clone());
        }
        Ok(gatehouse_runtime::aws::sdk_config_of(region, profile).await)
    }
}

/// Whether commands without an option address a stack.
pub(crate) fn has_default_stack() -> bool {
    is_set(STACK) || read_file().is_ok_and(|(file, _)| file.stack.is_some())
}

/// Returns the URL of the `gatehouse dev` that a command without a stack addresses.
///
/// # Errors
/// If the file cannot be used.
pub(crate) fn dev_at(argument: Option<&str>) -> Result<String, Error> {
    if let Some(at) = argument {
        return Ok(at.to_owned());
    }
    let (file, path) = read_file()?;
    if let Some(at) = &file.at {
        explain(&format!("gatehouse dev at {at} ({path})"));
    }
    Ok(file.at.unwrap_or_else(|| DEFAULT_AT.to_owned()))
}

/// The profile of an argument or a file.
static PROFILE: OnceLock<String> = OnceLock::new();

/// Returns the profile whose credentials are used, if one is named.
pub(crate) fn profile() -> Option<String> {
    PROFILE.get().cloned().or_else(|| std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty()))
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Prints the target on a terminal, if no argument names it.
fn explain(what: &str) {
    static IS_EXPLAINED: OnceLock<()> = OnceLock::new();
    if std::io::stderr().is_terminal() && IS_EXPLAINED.set(()).is_ok() {
        note(format!("using the {what}"));
    }
}

/// Reads the file in the nearest folder that has one. Returns its contents and its path.
fn read_file() -> Result<(File, String), Error> {
    // Without a working directory there is no file.
    let Ok(folder) = std::env::current_dir() else { return Ok((File::default(), String::new())) };
    let Some(path) = find_file(&folder) else { return Ok((File::default(), String::new())) };
    let text = crate::shell::read_text(&path)?;
    let name = path.display().to_string();
    Ok((parse(&name, &text)?, name))
}

fn find_file(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file())
}

fn parse(name: &str, text: &str) -> Result<File, Error> {
    basic_toml::from_str(text).map_err(|error| format!("{name}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_found_in_the_nearest_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(folder.path().join(FILE), "stack = \"prod\"\n").unwrap();
        assert_eq!(find_file(&inner), Some(folder.path().join(FILE)));
        std::fs::write(folder.path().join("a").join(FILE), "at = \"http://127.0.0.1:9100\"\n").unwrap();
        assert_eq!(find_file(&inner), Some(folder.path().join("a").join(FILE)));
    }

    #[test]
    fn file_with_an_unknown_member_is_an_error() {
        let text = "stack = \"prod\"\nregion = \"eu-north-1\"\nprofile = \"ops\"\nat = \"http://127.0.0.1:9100\"\n";
        assert_eq!(parse(FILE, text).unwrap().stack.as_deref(), Some("prod"));
        for wrong in ["stak = \"prod\"", "stack = 7", "stack"] {
            let error = parse("gatehouse.toml", wrong).unwrap_err().to_string();
            assert!(error.starts_with("gatehouse.toml: "), "{error}");
        }
    }
}
