//! A TCP proxy between agent-chat and an agent that splits or cuts off the agent's response.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How the response is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Splits it into chunks of this many bytes.
    Chunks(usize),
    /// Cuts it off after this many bytes, including its head.
    CutAfter(usize),
}

/// A running proxy. It stops when it is dropped.
pub(crate) struct Chopper {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Chopper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Chopper {
    pub(crate) async fn start(port: u16, mode: Mode) -> Chopper {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let agent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // Ignores errors, because the tests cut connections.
                tokio::spawn(async move { drop(chop(client, agent, mode).await) });
            }
        });
        Chopper { address, task }
    }
}

async fn chop(client: TcpStream, agent: TcpStream, mode: Mode) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_agent, mut to_agent) = agent.into_split();
    let request = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_agent).await });
    let (mut sent, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let read = from_agent.read(&mut buffer).await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        match mode {
            Mode::Chunks(size) => {
                for chunk in bytes.chunks(size.min(buffer.len())) {
                    to_client.write_all(chunk).await?;
                    // Lets the client read this chunk before the next one is sent.
                    tokio::task::yield_now().await;
                }
            }
            Mode::CutAfter(limit) => {
                let left = limit - sent;
                to_client.write_all(bytes.get(..left.min(read)).unwrap_or_default()).await?;
                sent += read.min(left);
                if sent == limit {
                    break;
                }
            }
        }
    }
    to_client.shutdown().await?;
    request.abort();
    Ok(())
}
