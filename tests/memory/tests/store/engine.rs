//! The DynamoDB that the tests run on: the in-memory one behind an HTTP server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gatehouse_local::engine::{FREE, bind};
use gatehouse_local::http_server::{Server, serve};
use gatehouse_memory::DynamoDb;
use http::{Request, Response};

/// The time of every request. Only `CreationDateTime` depends on it.
const NOW: i64 = 1_795_165_200_000;

/// A running in-memory DynamoDB; it stops when dropped.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    _server: Server,
}

impl Engine {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Starts an empty DynamoDB.
pub(crate) async fn start() -> Engine {
    let listener = bind(FREE).await.unwrap();
    let address = listener.local_addr().unwrap();
    let db = Arc::new(Mutex::new(DynamoDb::new()));
    let server = serve(listener, move |request| {
        let response = answer(&mut db.lock().unwrap(), &request);
        async move { Some(response) }
    });
    Engine { address, _server: server }
}

fn answer(db: &mut DynamoDb, request: &Request<Bytes>) -> Response<Bytes> {
    let target = request.headers()["x-amz-target"].to_str().unwrap();
    let body = serde_json::from_slice(request.body()).unwrap();
    let answer = db.answer(target.rsplit('.').next().unwrap(), &body, NOW);
    let response = Response::builder().status(answer.status).header("content-type", "application/x-amz-json-1.0");
    response.body(answer.body.to_string().into()).unwrap()
}
