//! Detects that the server closed an idle connection before a request was sent, so that the request can be retried.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::{Extensions, Request, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::Connection as Connects;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, capture_connection};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::connector::{Failure, SsrfGuard};

/// Connects, and tracks whether a request was sent over the connection.
#[derive(Debug, Clone)]
pub struct Watched(pub(crate) HttpsConnector<SsrfGuard>);

impl Service<Uri> for Watched {
    type Response = TokioIo<Connection>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connecting = self.0.call(url);
        Box::pin(async move { Ok(TokioIo::new(Connection::new(connecting.await?))) })
    }
}

/// A connection that refuses to begin a request after the server has closed it. It is above the TLS layer, so that
/// TLS's own messages do not count as requests or responses.
#[derive(Debug)]
pub struct Connection {
    stream: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    /// Whether a request may be in progress: bytes were written after the last read, or the end was read.
    has_request: bool,
    unsent: Unsent,
}

/// Whether the last request failed before any byte of it was sent.
#[derive(Debug, Clone, Default)]
struct Unsent(Arc<AtomicBool>);

impl Connection {
    fn new(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Self {
        Connection { stream: TokioIo::new(stream), has_request: false, unsent: Unsent::default() }
    }

    /// Checks whether the server has closed the connection, which the runtime may not have noticed yet.
    fn is_closed(&self) -> bool {
        let socket = match self.stream.inner() {
            MaybeHttpsStream::Http(stream) => stream.inner(),
            MaybeHttpsStream::Https(stream) => stream.inner().get_ref().0.inner().inner(),
        };
        match SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]) {
            Ok(bytes) => bytes == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Fails if the write would begin a request on a closed connection.
    fn before_write(&self) -> io::Result<()> {
        if !self.has_request && self.is_closed() {
            self.unsent.0.store(true, Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has closed the connection"));
        }
        Ok(())
    }

    /// Tracks whether bytes of a request were sent.
    fn after_write(&mut self, written: io::Result<usize>) -> io::Result<usize> {
        match &written {
            Ok(bytes) => self.has_request |= *bytes > 0,
            Err(_) if !self.has_request => self.unsent.0.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
        written
    }
}

impl Connects for Connection {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.unsent.clone())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        // After the end of the stream no new request begins, so later writes belong to the current one.
        self.has_request = buffer.filled().len() == before;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.before_write()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.after_write(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.before_write()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes));
        Poll::Ready(self.after_write(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Watches the connection over which a request is sent.
#[derive(Debug)]
pub(crate) struct Attempt(CaptureConnection);

impl Attempt {
    /// Watches `request`.
    pub(crate) fn watch<B>(request: &mut Request<B>) -> Self {
        Attempt(capture_connection(request))
    }

    /// Whether the request failed before any byte of it was sent. If so, the server cannot have received it.
    pub(crate) fn is_unsent(&self) -> bool {
        let mut extras = Extensions::new();
        if let Some(connected) = self.0.connection_metadata().as_ref() {
            connected.get_extras(&mut extras);
        }
        extras.get::<Unsent>().is_some_and(|unsent| unsent.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use bytes::Bytes;
    use http::Response;
    use http_body_util::BodyExt;
    use hyper_util::client::legacy;
    use hyper_util::rt::TokioExecutor;

    use crate::{Body, Client, NetworkScope, RequestError, Tls};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    fn client() -> Client {
        let connector = Tls::none().unwrap().connector(NetworkScope::Loopback, None);
        legacy::Client::builder(TokioExecutor::new()).build(connector).into()
    }

    async fn send_request(client: &Client, port: u16) -> Result<Response<Body>, RequestError> {
        let request = Request::post(format!("http://127.0.0.1:{port}/")).body(Bytes::from("question"));
        client.request(request.unwrap()).await
    }

    /// Accepts a connection and reads a request. Returns the connection.
    fn accept_request(listener: &TcpListener) -> std::net::TcpStream {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
        while !request.ends_with(b"question") {
            let length = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..length]);
        }
        stream
    }

    #[tokio::test]
    async fn request_on_a_closed_connection_is_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, client) = (listener.local_addr().unwrap().port(), client());
        let (close, closing) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            accept_request(&listener).write_all(ANSWER).map(|()| closing.recv()).unwrap().unwrap();
            listener
        });
        send_request(&client, port).await.unwrap().into_body().collect().await.unwrap();
        close.send(()).unwrap();
        // `join` blocks the runtime, so that it cannot notice the close.
        let listener = server.join().unwrap();
        assert_eq!(send_request(&client, port).await.map(drop), Err(RequestError::Unsent));
        drop(listener);
    }

    #[tokio::test]
    async fn request_read_over_tls_counts_as_sent_despite_close_notify() {
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![signed.cert.der().clone()], key).unwrap());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(signed.cert.der().clone()).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = Tls(tls.with_root_certificates(roots).with_no_client_auth()).connector(NetworkScope::Loopback, None);
        let client = Client::from(legacy::Client::builder(TokioExecutor::new()).build(tls));

        for answer in [&b""[..], b"HTTP/1.1 20"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let config = Arc::clone(&config);
            let server = std::thread::spawn(move || {
                let (socket, _) = listener.accept().unwrap();
                let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), socket);
                let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
                while !request.ends_with(b"question") {
                    let length = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..length]);
                }
                stream.write_all(answer).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            });
            let request = Request::post(format!("https://localhost:{port}/")).body(Bytes::from("question"));
            assert_eq!(client.request(request.unwrap()).await.map(drop), Err(RequestError::Broken));
            server.join().unwrap();
        }
    }

    #[tokio::test]
    async fn request_that_the_server_read_is_not_unsent() {
        for answer in [&b""[..], b"HTTP/1.1 20"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (port, client) = (listener.local_addr().unwrap().port(), client());
            let server = std::thread::spawn(move || accept_request(&listener).write_all(answer).unwrap());
            assert_eq!(send_request(&client, port).await.map(drop), Err(RequestError::Broken));
            server.join().unwrap();
        }
    }
}
