//! Embedded DynamoDB and SQS servers, in memory or in a data directory.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatehouse_payload::Nonce;
use rusqlite::Connection;
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use crate::forward::Upstream;
use crate::hosts::Hosts;
use crate::http_server::Server;
use crate::sqs::Sqs;
use crate::{Error, http_server};

mod stream;

/// A task that is aborted when this is dropped.
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
    /// The address at which clients on this machine reach the engine.
    pub address: SocketAddr,
    _parts: Parts,
}

#[derive(Debug)]
#[allow(dead_code, reason = "dropping the parts stops the engine")]
enum Parts {
    Task(AbortOnDrop),
    Server(Server),
    /// An engine behind a server that checks the host name, and the task that trims the engine's stream.
    Guarded(Box<Engine>, Server, AbortOnDrop),
}

impl Engine {
    /// Starts DynamoDB, in memory or in a data directory. It accepts every host name.
    ///
    /// # Errors
    /// If the port is in use, the engine does not start, or the file is not a DynamoDB database.
    pub async fn dynamodb(at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        let listener = bind(at).await?;
        Ok(Self::dynamodb_on(listener, data)?.0)
    }

    /// Starts DynamoDB and accepts requests for `hosts` only. The engine itself accepts every host and every web page.
    /// It therefore listens at a random loopback address, behind a server that checks the host. Expired stream records
    /// are deleted, and the shards of streams look as in AWS.
    ///
    /// # Errors
    /// See [`dynamodb`](Self::dynamodb).
    pub async fn dynamodb_for(hosts: Hosts, at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        let listener = bind(at).await?;
        let address = reachable(listener.local_addr()?);
        let (engine, connection) = Self::dynamodb_on(bind_hidden().await?, data)?;
        let upstream = Upstream::new(engine.address);
        let requests = Arc::new(RwLock::new(()));
        let trim = AbortOnDrop(tokio::spawn(stream::trim_forever(connection, Arc::clone(&requests))));
        let server = http_server::serve(listener, move |mut request| {
            let (refusal, upstream, requests) = (hosts.refusal(&request), upstream.clone(), Arc::clone(&requests));
            // Without an `Origin` header, the engine sends no CORS headers, so no web page can read its responses.
            request.headers_mut().remove(http::header::ORIGIN);
            async move {
                if let Some(refusal) = refusal {
                    return Some(refusal);
                }
                let operation = stream::translate_request(&mut request);
                let _request = requests.read().await;
                let response = upstream.forward(request).await?;
                Some(match operation {
                    Some(operation) => stream::translate_response(operation, response),
                    None => response,
                })
            }
        });
        Ok(Engine { address, _parts: Parts::Guarded(Box::new(engine), server, trim) })
    }

    /// Starts DynamoDB. Also returns a second connection to its database.
    fn dynamodb_on(listener: TcpListener, data: Option<&DataDir>) -> Result<(Self, Connection), Error> {
        let address = reachable(listener.local_addr()?);
        let (name, place) = match data {
            Some(data) => {
                let path = data.writable("events.db")?;
                let name = path.to_str().ok_or("the data directory's name is not UTF-8")?;
                (name.to_owned(), path.display().to_string())
            }
            None => (memory_name()?, "the memory".to_owned()),
        };
        let unusable = |error: &dyn std::fmt::Display| format!("{place} cannot be used: {error}");
        let database = dynoxide::Database::new(&name).map_err(|error| unusable(&error))?;
        let connection = stream::open(&name).map_err(|error| unusable(&error))?;
        database.sweep_ttl()?;
        let task = tokio::spawn(dynoxide::server::serve_on(listener, database));
        let task = AbortOnDrop(task);
        Ok((Engine { address, _parts: Parts::Task(task) }, connection))
    }

    /// Starts SQS, in memory or in a data directory. Queue URLs contain the engine's address, but an SDK sends its
    /// requests to its endpoint URL.
    ///
    /// # Errors
    /// If the port is in use, or the file is not a queue database or cannot be written.
    pub async fn sqs(at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        Self::sqs_for(Hosts::any(), at, data).await
    }

    /// Starts SQS and accepts requests for `hosts` only.
    ///
    /// # Errors
    /// See [`sqs`](Self::sqs).
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
        Ok(Engine { address, _parts: Parts::Server(server) })
    }

    /// Returns the engine's endpoint URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Binds a listener to an address.
///
/// # Errors
/// If the port is in use, or the address does not belong to this machine.
pub async fn bind(at: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(at).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!("port {} on {} is in use", at.port(), at.ip()).into(),
        _ => format!("cannot listen on {at}: {error}").into(),
    })
}

fn random() -> Result<Nonce, Error> {
    Ok(Nonce::random().map_err(|error| format!("the system provides no random bytes: {error}"))?)
}

/// Returns the name of a new database in memory. A second connection of this process reaches it by the name.
fn memory_name() -> Result<String, Error> {
    Ok(format!("file:gatehouse-{}?mode=memory&cache=shared", random()?))
}

/// Binds a listener to a free port of a random loopback address, if the system has more than one.
async fn bind_hidden() -> Result<TcpListener, Error> {
    let [a, b, c, ..] = *random()?.as_bytes();
    match TcpListener::bind((Ipv4Addr::new(127, a, b, c.clamp(1, 254)), 0)).await {
        Ok(listener) => Ok(listener),
        // Some systems have only 127.0.0.1.
        Err(_) => bind(FREE).await,
    }
}

/// Returns an address that a client can connect to: loopback in place of the unspecified address.
#[must_use]
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// A directory that stores events and queued messages. It is locked until dropped: only one process can use it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens and locks the directory. Creates it if it does not exist.
    ///
    /// # Errors
    /// If it cannot be written, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |reason: &dyn std::fmt::Display| format!("{} cannot hold data: {reason}", path.display());
        if path.is_file() {
            return Err(unusable(&"it is a file").into());
        }
        private_directory(path).map_err(|error| unusable(&error))?;
        let lock = private_file(&path.join("lock")).map_err(|error| unusable(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(unusable(&"another `gatehouse dev` is using it").into()),
            Err(TryLockError::Error(error)) => Err(unusable(&error).into()),
        }
    }

    /// The directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a database file after checking that SQLite can write to it. Creates the file if it does not
    /// exist.
    fn writable(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        // SQLite creates its other files with the permissions of this one.
        private_file(&path).map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
        let check = || Connection::open(&path)?.execute_batch("BEGIN IMMEDIATE; ROLLBACK;");
        check().map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
        Ok(path)
    }
}

/// Opens a file, or creates it. Only its owner can read it, because it contains conversations. The permissions of an
/// existing directory may be weaker.
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

/// Creates a directory and its parents. Only the owner can read them, because they will contain conversations.
fn private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}
