//! Who is measured: our functions as they are deployed, and the same webhook in Python and in Node.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use gatehouse_local::Error;
use serde::Deserialize;

use crate::cloud::{Cloud, IDEMPOTENCY_TABLE, SECRET, TABLE};
use crate::process::Program;

/// Where a Linux distribution keeps its root certificates, by distribution.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// What a zip file adds to its one file: two headers and an end, with its name twice.
const ZIP_FRAME: usize = 30 + 46 + 22 + 2 * "bootstrap".len();

/// One of those who are compared.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// As it stands in the tables.
    pub(crate) name: String,
    /// How it is started.
    pub(crate) program: Program,
    /// What is deployed, in bytes.
    pub(crate) bytes: u64,
    /// The same as it is uploaded, in bytes.
    pub(crate) zip_bytes: u64,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Builds functions as `sam build` does: one at a time, so that none gets the features of another.
///
/// # Errors
/// When one does not compile.
pub(crate) fn build(functions: &[&str]) -> Result<(), Error> {
    for function in functions {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let cargo = cargo.args(["build", "--release", "--locked", "--quiet", "-p", function, "--bin", function]);
        if !cargo.current_dir(root()).status()?.success() {
            return Err(format!("{function} could not be built").into());
        }
    }
    Ok(())
}

/// The folder of the release binaries: this one's, which is one of them.
fn binaries() -> Result<PathBuf, Error> {
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).ok_or("the bench stands in no folder")?.join("release"))
}

/// One of our functions, from `folder` or from where cargo puts it.
///
/// # Errors
/// When it is not there.
pub(crate) fn gatehouse(name: &str, function: &str, folder: Option<&Path>, cloud: &Cloud) -> Result<Contender, Error> {
    let binary = folder.map_or_else(binaries, |folder| Ok(folder.to_owned()))?.join(function);
    let bytes = std::fs::read(&binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let mut zip = DeflateEncoder::new(Vec::new(), Compression::default());
    zip.write_all(&bytes)?;
    let roots: Vec<&Path> = ROOTS.iter().map(Path::new).collect();
    let certificates = cloud.bundle("roots.pem", &roots)?;
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables = vec![
        set("TABLE_NAME", TABLE),
        set("SECRETS_ARN", SECRET),
        set("RETRY_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/000000000000/none"),
        set("DEAD_LETTER_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/000000000000/dead"),
        set("RUST_LOG", "info"),
        set("AWS_ENDPOINT_URL", &cloud.url),
        ("SSL_CERT_FILE".to_owned(), certificates.display().to_string()),
    ];
    let command = vec![binary.display().to_string()];
    Ok(Contender {
        name: name.to_owned(),
        program: Program { command, folder: None, variables },
        bytes: bytes.len() as u64,
        zip_bytes: (zip.finish()?.len() + ZIP_FRAME) as u64,
    })
}

/// How often events of Ada's with these bodies allocate, as the guard counts it.
///
/// # Errors
/// When it does not count.
pub(crate) fn allocations(bodies: &[PathBuf]) -> Result<Vec<f64>, Error> {
    let guard = Command::new(binaries()?.join("guard")).arg("allocations").args(bodies).output()?;
    let text = String::from_utf8_lossy(&guard.stdout);
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// What `peers/install` says of what it has installed.
#[derive(Debug, Deserialize)]
struct Installed {
    python: Peer,
    node: Peer,
}

#[derive(Debug, Deserialize)]
struct Peer {
    version: String,
    command: Vec<String>,
    cwd: PathBuf,
    #[serde(default)]
    env: std::collections::BTreeMap<String, String>,
    package_bytes: u64,
    zip_bytes: u64,
}

/// The peers, installed where they are not yet.
///
/// # Errors
/// When they cannot be installed.
pub(crate) fn peers(cloud: &Cloud) -> Result<[Contender; 2], Error> {
    let folder = binaries()?.join("../bench-peers");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/install");
    // What pip and npm say is no part of the tables.
    let status = Command::new(install).arg(&folder).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err("the peers could not be installed; without them: --no-peers".into());
    }
    let Installed { python, node } = serde_json::from_slice(&std::fs::read(folder.join("ready.json"))?)?;
    let contender = |language: &str, peer: Peer, bundle: &str| -> Result<Contender, Error> {
        // What Python trusts by itself; Node has its own built in, and adds the bundle to them.
        let roots = peer.cwd.join("botocore/cacert.pem");
        let bundle = cloud.bundle(bundle, &[&roots])?;
        let mut variables: Vec<(String, String)> = peer.env.into_iter().collect();
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        variables.extend([
            set("TABLE_NAME", TABLE),
            set("IDEMPOTENCY_TABLE", IDEMPOTENCY_TABLE),
            set("SECRET_ID", SECRET),
            set("POWERTOOLS_SERVICE_NAME", "bench"),
            set("AWS_ENDPOINT_URL", &cloud.url),
            set("AWS_CA_BUNDLE", &bundle.display().to_string()),
            set("NODE_EXTRA_CA_CERTS", &bundle.display().to_string()),
        ]);
        let program = Program { command: peer.command, folder: Some(peer.cwd), variables };
        let name = format!("{language} {}", peer.version);
        Ok(Contender { name, program, bytes: peer.package_bytes, zip_bytes: peer.zip_bytes })
    };
    Ok([contender("Python", python, "python.pem")?, contender("Node", node, "node.pem")?])
}

impl Contender {
    /// The same with another variable, under another name.
    #[must_use]
    pub(crate) fn with(&self, name: &str, variable: &str, value: &str) -> Contender {
        let mut other = self.clone();
        other.name = name.to_owned();
        other.program.variables.retain(|(set, _)| set != variable);
        other.program.variables.push((variable.to_owned(), value.to_owned()));
        other
    }
}
