//! Where a secrets document is kept: in a file, or in Secrets Manager.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use clap::Args;
use gatehouse_local::Error;

use crate::shell::read_text;
use crate::stack::{self, Outputs};

#[derive(Debug, Clone, Args)]
pub(crate) struct PlaceArguments {
    /// The document of a deployed stack, in Secrets Manager
    #[arg(long, value_name = "NAME", conflicts_with_all = ["secret", "file"])]
    stack: Option<String>,
    /// The same by the secret's ARN or name
    #[arg(long, value_name = "ARN", conflicts_with = "file")]
    secret: Option<String>,
    /// A document in a file, for one's own machine
    #[arg(long, value_name = "FILE", default_value = "secrets.json")]
    file: PathBuf,
}

/// A document's place.
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
    /// The same, as options of another call.
    pub(crate) fn again(&self) -> String {
        use crate::shell::quoted;
        match (&self.stack, &self.secret) {
            (Some(stack), _) => format!(" --stack {}", quoted(stack)),
            (_, Some(secret)) => format!(" --secret {}", quoted(secret)),
            _ if self.file == Path::new("secrets.json") => String::new(),
            _ => format!(" --file {}", quoted(&self.file.display().to_string())),
        }
    }

    pub(crate) async fn place(&self) -> Result<Place, Error> {
        if self.stack.is_none() && self.secret.is_none() {
            return Ok(Place::File(self.file.clone()));
        }
        let sdk = gatehouse_inbox::aws::sdk_config().await;
        let secret = match (&self.stack, &self.secret) {
            (Some(stack), _) => Outputs::of(&sdk, stack).await?.get("SecretsArn")?.to_owned(),
            (_, secret) => secret.clone().unwrap_or_default(),
        };
        Ok(Place::Manager { client: Client::new(&sdk), secret, stack: self.stack.clone() })
    }
}

impl Place {
    /// The secret of a stack whose outputs are known.
    pub(crate) fn of_stack(sdk: &SdkConfig, outputs: &Outputs) -> Result<Self, Error> {
        Ok(Place::Manager { client: Client::new(sdk), secret: outputs.get("SecretsArn")?.to_owned(), stack: None })
    }

    /// The document's text; `None` where there is no file yet.
    pub(crate) async fn read(&self) -> Result<Option<String>, Error> {
        match self {
            Place::File(path) => match std::fs::metadata(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                _ => read_text(path).map(Some),
            },
            Place::Manager { client, secret, .. } => {
                let value = client.get_secret_value().secret_id(secret).send().await;
                let value = value.map_err(|error| stack::told(&self.to_string(), &error))?;
                Ok(Some(value.secret_string().ok_or("the secret holds no text")?.to_owned()))
            }
        }
    }

    /// Writes the document whole, or not at all.
    pub(crate) async fn write(&self, document: &str) -> Result<(), Error> {
        match self {
            Place::File(path) => {
                write_whole(path, document).map_err(|error| format!("{self} cannot be written: {error}").into())
            }
            Place::Manager { client, secret, .. } => {
                let put = client.put_secret_value().secret_id(secret).secret_string(document).send().await;
                put.map(drop).map_err(|error| stack::told(&self.to_string(), &error))
            }
        }
    }
}

/// Beside it first, so that nobody finds half a document; readable by its owner alone.
fn write_whole(path: &Path, document: &str) -> std::io::Result<()> {
    // Where it is a link, what it leads to is meant.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // What a call that was killed has left.
    let _ = std::fs::remove_file(&name);
    let mut file = options.open(&name)?;
    file.write_all(document.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&name, path)
}
