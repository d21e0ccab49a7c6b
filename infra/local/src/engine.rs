//! DynamoDB and SQS, embedded, on loopback ports.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use gatehouse_inbox::Nonce;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::forward::Upstream;
use crate::hosts::Hosts;
use crate::http_server::Server;
use crate::sqs::Sqs;
use crate::{Error, http_server};

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A free loopback port.
pub const FREE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running engine; it stops when dropped.
#[derive(Debug)]
pub struct Engine {
    /// Where it can be reached from this machine.
    pub address: SocketAddr,
    _running: Running,
}

#[derive(Debug)]
#[allow(dead_code, reason = "held until it is dropped, which stops it")]
enum Running {
    Task(AbortOnDrop),
    Server(Server),
    SsrfGuard(Box<Engine>, Server),
}

impl Engine {
    /// Starts DynamoDB: in memory, or with what `data` keeps. It answers to any host.
    ///
    /// # Errors
    /// When the port is taken, the engine does not start, or the file is not its own.
    pub async fn dynamodb(at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        let listener = bind(at).await?;
        Self::dynamodb_on(listener, data)
    }

    /// The same, answering to `hosts` only. The engine itself cannot tell hosts apart and lets every web page in, so
    /// that it listens where no page finds it, behind a server that does.
    ///
    /// # Errors
    /// As [`dynamodb`](Self::dynamodb).
    pub async fn dynamodb_for(hosts: Hosts, at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        let listener = bind(at).await?;
        let address = reachable(listener.local_addr()?);
        let engine = Self::dynamodb_on(hidden().await?, data)?;
        let upstream = Upstream::new(engine.address);
        let server = http_server::serve(listener, move |mut request| {
            let (refusal, upstream) = (hosts.refusal(&request), upstream.clone());
            // Without it, the engine tells no browser that a page may read its answer.
            request.headers_mut().remove(http::header::ORIGIN);
            async move {
                match refusal {
                    Some(refusal) => Some(refusal),
                    None => upstream.forward(request).await,
                }
            }
        });
        Ok(Engine { address, _running: Running::SsrfGuard(Box::new(engine), server) })
    }

    fn dynamodb_on(listener: TcpListener, data: Option<&DataDir>) -> Result<Self, Error> {
        let address = reachable(listener.local_addr()?);
        let database = match data {
            Some(data) => {
                let path = data.writable("events.db")?;
                let name = path.to_str().ok_or("the data directory's name is not UTF-8")?;
                let database = dynoxide::Database::new(name)
                    .map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
                database.sweep_ttl()?;
                database
            }
            None => dynoxide::Database::memory()?,
        };
        let task = tokio::spawn(dynoxide::server::serve_on(listener, database));
        let task = AbortOnDrop(task);
        Ok(Engine { address, _running: Running::Task(task) })
    }

    /// Starts SQS: in memory, or with what `data` keeps. Queue URLs point at the engine itself; the SDK goes where its
    /// endpoint says.
    ///
    /// # Errors
    /// When the port is taken, or the file is not its own, or cannot be written.
    pub async fn sqs(at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        Self::sqs_for(Hosts::any(), at, data).await
    }

    /// The same, answering to `hosts` only.
    ///
    /// # Errors
    /// As [`sqs`](Self::sqs).
    pub async fn sqs_for(hosts: Hosts, at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        let listener = bind(at).await?;
        let address = reachable(listener.local_addr()?);
        let file = data.map(|data| data.writable("queues.db")).transpose()?;
        let sqs = Sqs::open(address, file.as_deref()).map_err(|error| match &file {
            Some(path) => format!("{} cannot be used: {error}", path.display()).into(),
            None => error,
        })?;
        let server = http_server::serve(listener, move |request| {
            let (sqs, refusal) = (sqs.clone(), hosts.refusal(&request));
            async move {
                match refusal {
                    Some(refusal) => Some(refusal),
                    None => Some(sqs.answer(request).await),
                }
            }
        });
        Ok(Engine { address, _running: Running::Server(server) })
    }

    /// Its endpoint URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Listens at an address.
///
/// # Errors
/// When the port is taken, or the address is not this machine's.
pub async fn bind(at: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(at).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!("port {} on {} is in use", at.port(), at.ip()).into(),
        _ => format!("{at} cannot be listened on: {error}").into(),
    })
}

/// A listener on a loopback address that chance chooses, where there is more than one.
async fn hidden() -> Result<TcpListener, Error> {
    let chance = Nonce::random().map_err(|error| format!("no random bytes: {error}"))?;
    let [a, b, c, ..] = *chance.as_bytes();
    match TcpListener::bind((Ipv4Addr::new(127, a, b, c.clamp(1, 254)), 0)).await {
        Ok(listener) => Ok(listener),
        // Only some systems have all of 127.0.0.0/8.
        Err(_) => bind(FREE).await,
    }
}

/// What to call an address that may be "every interface": loopback is one of them.
#[must_use]
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// A directory that keeps events and queued messages. One process at a time has it, until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the directory; creates it where there is none.
    ///
    /// # Errors
    /// When it cannot be written, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |why: &dyn std::fmt::Display| format!("{} cannot hold data: {why}", path.display());
        if path.is_file() {
            return Err(unusable(&"it is a file").into());
        }
        create_private(path).map_err(|error| unusable(&error))?;
        let lock = private_file(&path.join("lock")).map_err(|error| unusable(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(unusable(&"another `gatehouse dev` is using it").into()),
            Err(TryLockError::Error(error)) => Err(unusable(&error).into()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the directory, which SQLite has found to be one of its own, or none yet, and can write to.
    fn writable(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        // SQLite's other files have the rights of this one.
        private_file(&path).map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
        let try_it = || rusqlite::Connection::open(&path)?.execute_batch("BEGIN IMMEDIATE; ROLLBACK;");
        try_it().map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
        Ok(path)
    }
}

/// Opens a file and creates it if it does not exist. Only its owner can read it, because it contains conversations.
/// The permissions of its directory do not matter.
fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Creates a directory, and those above it, for nobody else to read: it will hold whole conversations.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}
