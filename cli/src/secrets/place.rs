//! Reads and writes a secrets document in a file or in Secrets Manager.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use clap::Args;
use gatehouse_local::Error;

use crate::settings::StackArgs;
use crate::shell::{read_text, variable};
use crate::stack::{self, Outputs};

/// The file with the document, if no other place is named.
const DEFAULT_FILE: &str = "secrets.json";

#[derive(Debug, Clone, Args)]
pub(crate) struct PlaceArguments {
    #[command(flatten)]
    aws: StackArgs,
    /// Use the document in this secret of Secrets Manager, by ARN or name
    #[arg(long, value_name = "ARN", conflicts_with_all = ["stack", "file"])]
    secret: Option<String>,
    /// Use the document in this file, for `gatehouse dev` [default: secrets.json, if no stack is named]
    #[arg(long, value_name = "FILE", conflicts_with = "stack")]
    file: Option<PathBuf>,
}

/// The document with the services that rules ask.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServicesPlace {
    /// Secrets document with the services [default: the variable GATEHOUSE_SECRETS, else secrets.json]
    #[arg(long, value_name = "FILE", conflicts_with = "stack")]
    secrets: Option<PathBuf>,
    #[command(flatten)]
    aws: StackArgs,
}

impl ServicesPlace {
    /// Loads the settings to call services that are Lambda functions.
    pub(crate) async fn sdk(&self) -> Result<SdkConfig, Error> {
        self.aws.sdk().await
    }

    /// Returns the text of the document and the name of its place; `None` if none is named and none is found.
    pub(crate) async fn read(&self) -> Result<Option<(String, String)>, Error> {
        if let Some(file) = &self.secrets {
            return Ok(Some((read_text(file)?, file.display().to_string())));
        }
        let (place, variable) = match self.aws.stack()? {
            Some(stack) => {
                let sdk = self.aws.sdk().await?;
                (Place::of_stack(&sdk, &Outputs::of(&sdk, &stack).await?)?, None)
            }
            None => (Place::File(PathBuf::from(DEFAULT_FILE)), variable("GATEHOUSE_SECRETS")?),
        };
        match variable {
            Some(document) => Ok(Some((document, "GATEHOUSE_SECRETS".to_owned()))),
            None => Ok(place.read().await?.map(|document| (document, place.to_string()))),
        }
    }
}

/// The place where a document is stored.
#[derive(Debug)]
pub(crate) enum Place {
    File(PathBuf),
    Manager { client: Client, secret: String, stack: Option<String> },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Manager { stack: Some(stack), .. } => write!(f, "the secret of the stack {stack}"),
            Place::Manager { secret, .. } => write!(f, "the secret {secret}"),
        }
    }
}

impl PlaceArguments {
    /// Returns these arguments as text, for a command that the user runs next.
    pub(crate) fn as_options(&self) -> String {
        use crate::shell::shell_quote;
        if let Some(stack) = &self.aws.stack {
            self.aws.flags(stack)
        } else if let Some(secret) = &self.secret {
            format!(" --secret {}", shell_quote(secret))
        } else {
            let file = self.file.iter().map(|file| format!(" --file {}", shell_quote(&file.display().to_string())));
            file.collect()
        }
    }

    pub(crate) async fn place(&self) -> Result<Place, Error> {
        if let Some(file) = &self.file {
            return Ok(Place::File(file.clone()));
        }
        if let Some(secret) = &self.secret {
            let client = Client::new(&self.aws.sdk().await?);
            return Ok(Place::Manager { client, secret: secret.clone(), stack: None });
        }
        let Some(stack) = self.aws.stack()? else { return Ok(Place::File(PathBuf::from(DEFAULT_FILE))) };
        let sdk = self.aws.sdk().await?;
        let secret = Outputs::of(&sdk, &stack).await?.get("SecretsArn")?.to_owned();
        Ok(Place::Manager { client: Client::new(&sdk), secret, stack: Some(stack) })
    }
}

impl Place {
    /// Returns the secret of the stack with these outputs.
    pub(crate) fn of_stack(sdk: &SdkConfig, outputs: &Outputs) -> Result<Self, Error> {
        Ok(Place::Manager { client: Client::new(sdk), secret: outputs.get("SecretsArn")?.to_owned(), stack: None })
    }

    /// Returns the text of the document; `None` if the file does not exist.
    pub(crate) async fn read(&self) -> Result<Option<String>, Error> {
        match self {
            Place::File(path) => match std::fs::metadata(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                _ => read_text(path).map(Some),
            },
            Place::Manager { client, secret, .. } => {
                let value = client.get_secret_value().secret_id(secret).send().await;
                let value = value.map_err(|error| stack::aws_error(&self.to_string(), &error))?;
                Ok(Some(value.secret_string().ok_or("the secret is binary; store it as text")?.to_owned()))
            }
        }
    }

    /// Writes the document atomically.
    pub(crate) async fn write(&self, document: &str) -> Result<(), Error> {
        match self {
            Place::File(path) => write_file(path, document),
            Place::Manager { client, secret, .. } => {
                let put = client.put_secret_value().secret_id(secret).secret_string(document).send().await;
                put.map(drop).map_err(|error| stack::aws_error(&self.to_string(), &error))
            }
        }
    }
}

/// Writes a document to a file.
pub(crate) fn write_file(path: &Path, document: &str) -> Result<(), Error> {
    write_atomically(path, document).map_err(|error| format!("{} cannot be written: {error}", path.display()).into())
}

/// Writes a new file and renames it, so that no reader sees half a document. Only the owner can read the file.
fn write_atomically(path: &Path, document: &str) -> std::io::Result<()> {
    // Follows a symbolic link, which the rename would replace.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // A process that was killed may have left this file.
    let _ = std::fs::remove_file(&name);
    let mut file = options.open(&name)?;
    file.write_all(document.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&name, path)
}
