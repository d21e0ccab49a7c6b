//! The contenders: Gatehouse's functions as they are deployed, and the same webhook in Python and in Node.js.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use gatehouse_local::Error;
use serde::Deserialize;

use crate::cloud::{Cloud, IDEMPOTENCY_TABLE, SECRET, TABLE};
use crate::process::Program;

/// Files with root certificates, by Linux distribution.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Bytes that a zip archive adds to its only file: two headers and a trailer, with the file's name twice.
const ZIP_FRAME: usize = 30 + 46 + 22 + 2 * "bootstrap".len();

/// A program that is measured.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// The name in the tables.
    pub(crate) name: String,
    /// The command and its environment.
    pub(crate) program: Program,
    /// Size of the deployment package, in bytes.
    pub(crate) bytes: u64,
    /// Size of the zipped deployment package, in bytes.
    pub(crate) zip_bytes: u64,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Builds functions as `sam build` does: one at a time, so that no function is built with the features of another.
///
/// # Errors
/// Fails if a function does not compile.
pub(crate) fn build(packages: impl Iterator<Item = String>) -> Result<(), Error> {
    for package in packages {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let cargo = cargo.args(["build", "--release", "--locked", "--quiet", "-p", &package, "--bin", &package]);
        if !cargo.current_dir(root()).status()?.success() {
            return Err(format!("{package} could not be built").into());
        }
    }
    Ok(())
}

/// Returns the folder of the release binaries, by the path of this binary.
fn binaries() -> Result<PathBuf, Error> {
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).ok_or("the bench is not in cargo's target folder")?.join("release"))
}

/// One of Gatehouse's functions, from `folder` or from cargo's folder.
///
/// # Errors
/// Fails if the binary does not exist.
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
        // With this variable, log lines are metrics, as in a deployed stack.
        set("STACK_NAME", "gatehouse"),
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

/// Runs the guard, which counts the allocations of Ada events with these bodies.
///
/// # Errors
/// Fails if the guard does not run or prints no counts.
pub(crate) fn allocations(bodies: &[PathBuf]) -> Result<Vec<f64>, Error> {
    let guard = Command::new(binaries()?.join("guard")).arg("allocations").args(bodies).output()?;
    let text = String::from_utf8_lossy(&guard.stdout);
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// The content of `ready.json`, which `peers/install` writes.
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

/// Installs the peers if necessary and returns them.
///
/// # Errors
/// Fails if they cannot be installed.
pub(crate) fn peers(cloud: &Cloud) -> Result<[Contender; 2], Error> {
    let folder = binaries()?.join("../bench-peers");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/install");
    // The output of pip and npm must not appear between the tables.
    let status = Command::new(install).arg(&folder).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err("the peers could not be installed; pass --no-peers to measure without them".into());
    }
    let Installed { python, node } = serde_json::from_slice(&std::fs::read(folder.join("ready.json"))?)?;
    let contender = |language: &str, peer: Peer, bundle: &str| -> Result<Contender, Error> {
        // The certificates that Python trusts by default. Node has built-in ones and adds the bundle to them.
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
    /// A copy with another name and one changed environment variable.
    #[must_use]
    pub(crate) fn with(&self, name: &str, variable: &str, value: &str) -> Contender {
        let mut other = self.clone();
        other.name = name.to_owned();
        other.program.variables.retain(|(set, _)| set != variable);
        other.program.variables.push((variable.to_owned(), value.to_owned()));
        other
    }
}
