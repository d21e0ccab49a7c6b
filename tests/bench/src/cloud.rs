//! The services that functions reach over TLS: the embedded DynamoDB and a Secrets Manager.
//!
//! One server terminates TLS for both and forwards each request. It measures the time of the engines, from the complete
//! request to the complete response, so that this time can be subtracted from a function's time. TLS and the network
//! are part of the function's time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use bytes::Bytes;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::template::Template;
use gatehouse_local::{Error, SecretsManager, local_sdk};
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// The event table's name in the template.
pub(crate) const TABLE: &str = "EventTable";
/// The table of Powertools' idempotency records.
pub(crate) const IDEMPOTENCY_TABLE: &str = "idempotency";
/// The secret's name.
pub(crate) const SECRET: &str = "gatehouse-bench";

/// Engines behind TLS. They stop when this value is dropped.
#[derive(Debug)]
pub(crate) struct Cloud {
    /// The URL of both services.
    pub(crate) url: String,
    usage: Arc<Mutex<Usage>>,
    folder: PathBuf,
    authority: String,
    _engine: Engine,
    _secrets: SecretsManager,
}

/// The work of the engines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    /// The time during which at least one of them was processing a request.
    pub(crate) busy: Duration,
    /// Requests by operation.
    pub(crate) requests: BTreeMap<String, usize>,
    at_work: usize,
    since: Option<Instant>,
}

impl Cloud {
    /// Starts the engines. [`Cloud::bundle`] writes certificates to `folder`.
    ///
    /// # Errors
    /// Fails if an engine or the server does not start.
    pub(crate) async fn start(folder: &Path, secrets: &str) -> Result<Cloud, Error> {
        let engine = Engine::dynamodb(FREE, None).await?;
        let dynamodb = aws_sdk_dynamodb::Client::new(&local_sdk(&engine.url()));
        Template::read()?.create_table(&dynamodb, TABLE).await?;
        create_idempotency_table(&dynamodb).await?;
        let secrets = SecretsManager::start(secrets).await?;
        let usage = Arc::<Mutex<Usage>>::default();
        let (tls, authority) = certificates()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let gateway = Arc::new(Gateway {
            dynamodb: engine.url(),
            secrets: secrets.proxy.url(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            usage: Arc::clone(&usage),
        });
        tokio::spawn(serve(listener, tls.clone(), Arc::clone(&gateway)));
        // Some clients resolve `localhost` to its IPv6 address.
        if let Ok(listener) = TcpListener::bind(("::1", port)).await {
            tokio::spawn(serve(listener, tls, gateway));
        }
        let url = format!("https://localhost:{port}");
        Ok(Cloud { url, usage, folder: folder.to_owned(), authority, _engine: engine, _secrets: secrets })
    }

    /// Writes a bundle of certificates: those in the first readable file of `roots`, and the certificate of the bench.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(crate) fn bundle(&self, name: &str, roots: &[&Path]) -> Result<PathBuf, Error> {
        let roots = roots.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let path = self.folder.join(name);
        std::fs::write(&path, format!("{roots}\n{}", self.authority))?;
        Ok(path)
    }

    /// Returns the work of the engines since the last call.
    pub(crate) fn take(&self) -> Usage {
        std::mem::take(&mut lock(&self.usage))
    }
}

fn lock(usage: &Mutex<Usage>) -> std::sync::MutexGuard<'_, Usage> {
    usage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates the table as Powertools' documentation describes it.
async fn create_idempotency_table(dynamodb: &aws_sdk_dynamodb::Client) -> Result<(), Error> {
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build()?;
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S).build()?;
    let table = dynamodb.create_table().table_name(IDEMPOTENCY_TABLE).key_schema(key).attribute_definitions(id);
    table.billing_mode(BillingMode::PayPerRequest).send().await?;
    Ok(())
}

/// Creates the server's certificate and the authority that signs it.
fn certificates() -> Result<(TlsAcceptor, String), Error> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Python requires these key usages of an authority.
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, "An authority of the bench");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut certificate = CertificateParams::new(["localhost".to_owned()])?;
    certificate.use_authority_key_identifier_extension = true;
    let certificate = certificate.signed_by(&key, &authority)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}

#[derive(Debug)]
struct Gateway {
    dynamodb: String,
    secrets: String,
    client: Client<HttpConnector, Full<Bytes>>,
    usage: Arc<Mutex<Usage>>,
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, gateway: Arc<Gateway>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (tls, gateway) = (tls.clone(), Arc::clone(&gateway));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let gateway = Arc::clone(&gateway);
                async move { gateway.forward(request).await }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A function that is killed leaves its connections open.
            drop(connection.await);
        });
    }
}

impl Gateway {
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, io::Error> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let to = if target.starts_with("secretsmanager") { &self.secrets } else { &self.dynamodb };
        head.uri = format!("{to}{}", head.uri.path()).parse::<Uri>().map_err(io::Error::other)?;
        head.headers.remove(header::HOST);
        self.begin(operation);
        let forwarded = async {
            let response =
                self.client.request(Request::from_parts(head, Full::new(body))).await.map_err(io::Error::other)?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Response::from_parts(head, Full::new(body)))
        };
        let forwarded = forwarded.await;
        self.end();
        forwarded
    }

    fn begin(&self, operation: String) {
        let mut usage = lock(&self.usage);
        *usage.requests.entry(operation).or_default() += 1;
        usage.at_work += 1;
        usage.since.get_or_insert_with(Instant::now);
    }

    fn end(&self) {
        let mut usage = lock(&self.usage);
        // `Cloud::take` may have reset the counter meanwhile.
        usage.at_work = usage.at_work.saturating_sub(1);
        if usage.at_work == 0
            && let Some(since) = usage.since.take()
        {
            usage.busy += since.elapsed();
        }
    }
}
