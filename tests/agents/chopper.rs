//! Stands between the proxy and an agent, and chops what the agent says.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How an answer is chopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into pieces of so many bytes.
    Pieces(usize),
    /// Off, behind so many bytes, its head included.
    CutAfter(usize),
}

/// A running chopper; it stops when dropped.
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
    pub(crate) async fn start(port: u16, way: Way) -> Chopper {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let agent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // A connection that ends is what this is for.
                tokio::spawn(async move { drop(chop(client, agent, way).await) });
            }
        });
        Chopper { address, task }
    }
}

async fn chop(client: TcpStream, agent: TcpStream, way: Way) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (mut asks, mut hears) = client.into_split();
    let (mut says, mut asked) = agent.into_split();
    let request = tokio::spawn(async move { tokio::io::copy(&mut asks, &mut asked).await });
    let (mut said, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let read = says.read(&mut buffer).await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        match way {
            Way::Pieces(size) => {
                for piece in bytes.chunks(size.min(buffer.len())) {
                    hears.write_all(piece).await?;
                    // Whoever reads gets to read it alone.
                    tokio::task::yield_now().await;
                }
            }
            Way::CutAfter(limit) => {
                let left = limit - said;
                hears.write_all(bytes.get(..left.min(read)).unwrap_or_default()).await?;
                said += read.min(left);
                if said == limit {
                    break;
                }
            }
        }
    }
    hears.shutdown().await?;
    request.abort();
    Ok(())
}
