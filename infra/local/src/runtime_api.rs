//! Emulates the Lambda Runtime API for a function binary, so that tests run the deployed program.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gatehouse_runtime::Clock;
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use crate::http_server::Server;
use crate::{Error, http_server};

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Invoked {
    /// The function's response.
    Answered(Value),
    /// The error that the function reported: from its handler, or a panic.
    Failed(Value),
}

/// A running function binary.
#[derive(Debug)]
pub struct Host {
    invocations: mpsc::UnboundedSender<Invocation>,
    process: Child,
    _server: Server,
}

#[derive(Debug)]
struct Invocation {
    event: Bytes,
    result: oneshot::Sender<Invoked>,
}

#[derive(Debug)]
struct Shared {
    queued: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    running: Mutex<HashMap<String, oneshot::Sender<Invoked>>>,
    count: AtomicU64,
    timeout_ms: i64,
}

impl Host {
    /// Starts a function binary. Its environment has only `variables` and the variables that Lambda sets.
    ///
    /// # Errors
    /// If no port is free or the binary cannot be started.
    pub async fn start(
        binary: impl AsRef<Path>,
        variables: impl IntoIterator<Item = (&str, &str)>,
        timeout_ms: i64,
    ) -> Result<Host, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (invocations, queued) = mpsc::unbounded_channel();
        let shared =
            Shared { queued: AsyncMutex::new(queued), running: Mutex::default(), count: AtomicU64::new(0), timeout_ms };
        let shared = Arc::new(shared);
        let server = http_server::serve(listener, move |request| {
            let shared = Arc::clone(&shared);
            async move { answer(&shared, request).await }
        });
        let process = Command::new(binary.as_ref())
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "under-test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .envs(variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Host { invocations, process, _server: server })
    }

    /// Invokes the function and waits for the result.
    ///
    /// # Errors
    /// If the process ends first.
    pub async fn invoke(&mut self, event: &Value) -> Result<Invoked, Error> {
        let (sender, result) = oneshot::channel();
        self.invocations.send(Invocation { event: Bytes::from(event.to_string()), result: sender })?;
        tokio::select! {
            invoked = result => Ok(invoked?),
            status = self.process.wait() => Err(format!("the function's process ended: {}", status?).into()),
        }
    }

    /// Waits until the process ends. Returns whether it succeeded, and its output.
    ///
    /// # Errors
    /// If its output cannot be read.
    pub async fn finish(mut self) -> Result<(bool, String), Error> {
        let (stdout, stderr) = (self.process.stdout.take(), self.process.stderr.take());
        let status = self.process.wait().await?;
        Ok((status.success(), read(stdout, stderr).await?))
    }

    /// Kills the process and returns its output.
    ///
    /// # Errors
    /// If its output cannot be read.
    pub async fn kill(mut self) -> Result<String, Error> {
        let (stdout, stderr) = (self.process.stdout.take(), self.process.stderr.take());
        self.process.kill().await?;
        read(stdout, stderr).await
    }
}

/// Reads the standard output and standard error of a process to their ends.
async fn read(
    stdout: Option<tokio::process::ChildStdout>,
    stderr: Option<tokio::process::ChildStderr>,
) -> Result<String, Error> {
    use tokio::io::AsyncReadExt;
    let mut text = String::new();
    if let Some(mut stdout) = stdout {
        stdout.read_to_string(&mut text).await?;
    }
    if let Some(mut stderr) = stderr {
        stderr.read_to_string(&mut text).await?;
    }
    Ok(text)
}

/// Handles a request of the function's runtime.
async fn answer(shared: &Shared, request: Request<Bytes>) -> Option<Response<Bytes>> {
    let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/").to_owned();
    if path == "invocation/next" {
        return next(shared).await;
    }
    let mut parts = path.trim_start_matches("invocation/").split('/');
    let (id, action) = (parts.next()?, parts.next()?);
    let body =
        parse_streamed(request.body()).or_else(|| serde_json::from_slice(request.body()).ok()).unwrap_or_default();
    let result = shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    if let Some(result) = result {
        // The caller may have stopped waiting.
        let _ = result.send(if action == "response" { Invoked::Answered(body) } else { Invoked::Failed(body) });
    }
    let mut accepted = Response::new(Bytes::from_static(b"{\"status\":\"OK\"}"));
    *accepted.status_mut() = StatusCode::ACCEPTED;
    Some(accepted)
}

/// Converts a streamed response to the form of a buffered one. It consists of a JSON head, eight zero bytes and the
/// body. `None` if the response is not streamed.
fn parse_streamed(response: &Bytes) -> Option<Value> {
    const ZEROS: &[u8] = &[0; 8];
    let head_end = memchr::memmem::find(response, ZEROS)?;
    let mut head: Value = serde_json::from_slice(response.get(..head_end)?).ok()?;
    let body = String::from_utf8_lossy(response.get(head_end + ZEROS.len()..)?);
    head.as_object_mut()?.insert("body".to_owned(), Value::from(body));
    Some(head)
}

/// Waits for the next invocation.
async fn next(shared: &Shared) -> Option<Response<Bytes>> {
    let Invocation { event, result } = shared.queued.lock().await.recv().await?;
    let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
    let id = format!("invocation-{}", shared.count.fetch_add(1, Ordering::Relaxed));
    running.insert(id.clone(), result);
    let deadline = Clock::System.now().as_millis() + shared.timeout_ms;
    let mut response = Response::new(event);
    let headers = response.headers_mut();
    headers.insert("lambda-runtime-aws-request-id", HeaderValue::from_str(&id).ok()?);
    headers.insert("lambda-runtime-deadline-ms", HeaderValue::from(deadline));
    headers.insert(
        "lambda-runtime-invoked-function-arn",
        HeaderValue::from_static("arn:aws:lambda:us-east-1:000000000000:function:under-test"),
    );
    Some(response)
}
