//! DynamoDB and SQS, embedded, on loopback ports.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustack_sqs_http::service::{SqsHttpConfig, SqsHttpService};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::sqs::Sqs;
use crate::{Error, http_server};

/// A free loopback port.
pub const FREE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running engine; it stops when dropped.
#[derive(Debug)]
pub struct Engine {
    /// Where it can be reached from this machine.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Engine {
    /// Starts DynamoDB: in memory, or with what `data` keeps.
    ///
    /// # Errors
    /// When the port is taken, the engine does not start, or the file is not its own.
    pub async fn dynamodb(at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        let listener = bind(at).await?;
        let address = reachable(listener.local_addr()?);
        let database = match data {
            Some(data) => {
                let path = data.file("events.db");
                let database = dynoxide::Database::new(path.to_str().ok_or("the data directory's name is not UTF-8")?)
                    .map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
                database.sweep_ttl()?;
                database
            }
            None => dynoxide::Database::memory()?,
        };
        let task = tokio::spawn(dynoxide::server::serve_on(listener, database));
        Ok(Engine { address, task })
    }

    /// Starts SQS: in memory, or with what `data` keeps. Queue URLs point at the engine itself; the SDK goes where its
    /// endpoint says.
    ///
    /// # Errors
    /// When the port is taken, or the file is not its own, or cannot be written.
    pub async fn sqs(at: SocketAddr, data: Option<&DataDir>) -> Result<Self, Error> {
        let listener = bind(at).await?;
        let address = reachable(listener.local_addr()?);
        let journal = data.map(|data| data.file("queues.db"));
        let sqs = Sqs::open(address, journal.as_deref()).await;
        let sqs = sqs.map_err(|error| match &journal {
            Some(path) => format!("{} cannot be used: {error}", path.display()).into(),
            None => error,
        })?;
        let service = SqsHttpService::new(Arc::new(sqs), SqsHttpConfig::default());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let stream = http_server::accept(&listener).await;
                let service = service.clone();
                connections.spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Engine { address, task })
    }

    /// Its endpoint URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
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
        std::fs::create_dir_all(path).map_err(|error| unusable(&error))?;
        let lock = File::create(path.join("lock")).map_err(|error| unusable(&error))?;
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

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
