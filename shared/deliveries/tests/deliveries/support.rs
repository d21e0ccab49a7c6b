//! A world for tests: engines, a receiver, and the outbox and the sender in between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_deliveries::deliver::{DeliverError, Deliverer, Rung, SlowLimits};
use gatehouse_deliveries::destination::Target;
use gatehouse_deliveries::doorbell::{Doorbell, Doorbells};
use gatehouse_deliveries::lane::{Lane, RowKey};
use gatehouse_deliveries::send::{CONNECT_TIMEOUT, Sender};
use gatehouse_deliveries::table::Delivery;
use gatehouse_deliveries::{DeliveryTable, Destination, Destinations, Outbox};
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_inbox::Store;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::template::Template;
use gatehouse_local::{FaultProxy, TableStream, local_sdk};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Flags, Nonce, Subject};
use gatehouse_runtime::{Clock, Random};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn event(&self) -> &str {
        &self.headers["gatehouse-event-id"]
    }
}

/// A header of a response whose body does not end.
pub(crate) const UNFINISHED: &str = "x-unfinished: true";

/// Decides the status line and further headers of a response.
type Respond = dyn Fn(&Received) -> String + Send + Sync;

/// A server that records requests, and how many requests about one subject were open at the same time.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    respond: Arc<Mutex<Arc<Respond>>>,
    open: Arc<Mutex<BTreeMap<String, usize>>>,
    most: Arc<AtomicUsize>,
    /// Requests are answered while this is open.
    gate: watch::Sender<bool>,
}

impl Receiver {
    pub(crate) async fn start() -> Receiver {
        let listener = TcpListener::bind(FREE).await.unwrap();
        let receiver = Receiver {
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
            received: Arc::default(),
            respond: Arc::new(Mutex::new(Arc::new(|_: &Received| "200 OK".to_owned()))),
            open: Arc::default(),
            most: Arc::default(),
            gate: watch::channel(true).0,
        };
        let shared = receiver.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(connection));
            }
        });
        receiver
    }

    /// Sets the status line, and header lines after it, of each response.
    pub(crate) fn respond(&self, respond: impl Fn(&Received) -> String + Send + Sync + 'static) {
        *self.respond.lock().unwrap() = Arc::new(respond);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The ids of the events, in the order in which they came.
    pub(crate) fn events(&self) -> Vec<String> {
        self.received().iter().map(|received| received.event().to_owned()).collect()
    }

    /// Holds responses back, or sends them.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.gate.send_replace(is_open);
    }

    /// Waits until no request is open.
    pub(crate) async fn wait_until_idle(&self) {
        while self.open.lock().unwrap().values().any(|count| *count > 0) {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this number of requests has come.
    pub(crate) async fn wait_for(&self, count: usize) {
        while self.received().len() < count {
            tokio::task::yield_now().await;
        }
    }

    /// The largest number of open requests about one subject.
    pub(crate) fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    async fn serve(self, mut connection: TcpStream) {
        let mut bytes = Vec::new();
        let (head, length) = loop {
            if connection.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                break (head.clone(), length.parse::<usize>().unwrap());
            }
        };
        while bytes.len() < length {
            connection.read_buf(&mut bytes).await.unwrap();
        }
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let received = Received { headers, body: serde_json::from_slice(&bytes).unwrap(), bytes };
        let subject = received.body["data"]["subject"].to_string();
        let at_once = {
            let mut open = self.open.lock().unwrap();
            let count = open.entry(subject.clone()).or_default();
            *count += 1;
            *count
        };
        self.most.fetch_max(at_once, Ordering::SeqCst);
        self.received.lock().unwrap().push(received.clone());
        // Gives other senders time to overlap.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.gate.subscribe().wait_for(|is_open| *is_open).await.unwrap();
        let respond = Arc::clone(&self.respond.lock().unwrap());
        let head = respond(&received);
        let length = if head.contains(UNFINISHED) { 100 } else { 4 };
        let response = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\nnote");
        *self.open.lock().unwrap().get_mut(&subject).unwrap() -= 1;
        let _ = connection.write_all(response.as_bytes()).await;
        if length > 4 {
            // Until the client closes the connection.
            let _ = connection.read_buf(&mut Vec::new()).await;
        }
    }
}

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) table: DeliveryTable,
    pub(crate) outbox: Outbox,
    pub(crate) deliverer: Deliverer,
    pub(crate) destinations: Destinations,
    pub(crate) receiver: Receiver,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) engines: [Engine; 2],
    /// The proxies to DynamoDB and SQS that the outbox and the sender use.
    pub(crate) proxies: [FaultProxy; 2],
    pub(crate) stream: TableStream,
}

impl World {
    /// A world with the destination `crm`, which gets every event.
    pub(crate) async fn start() -> World {
        let receiver = Receiver::start().await;
        let crm = Destination::at(Target::Url { url: receiver.url.parse().unwrap(), is_private: false });
        World::with(receiver, [("crm", crm)]).await
    }

    pub(crate) async fn with<const N: usize>(receiver: Receiver, destinations: [(&str, Destination); N]) -> World {
        let engines = [Engine::dynamodb(FREE, None).await.unwrap(), Engine::sqs(FREE, None).await.unwrap()];
        let (dynamodb, sqs_sdk) = (local_sdk(&engines[0].url()), local_sdk(&engines[1].url()));
        let (client, template) = (aws_sdk_dynamodb::Client::new(&dynamodb), Template::read().unwrap());
        for table in ["EventTable", "DeliveryTable"] {
            template.create_table(&client, table).await.unwrap();
        }
        let sqs = aws_sdk_sqs::Client::new(&sqs_sdk);
        let create = async |name| sqs.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap();
        let (queue, slow_queue) = (create("DeliveryQueue").await, create("SlowDeliveryQueue").await);
        let (store, table) = (Store::new(&dynamodb, "EventTable", 90), DeliveryTable::new(&dynamodb, "DeliveryTable"));
        let proxies = [0, 1].map(|n: usize| FaultProxy::start(engines[n].address));
        let [dynamodb_proxy, sqs_proxy] = proxies;
        let proxies = [dynamodb_proxy.await.unwrap(), sqs_proxy.await.unwrap()];
        let [through_dynamodb, through_sqs] = proxies.each_ref().map(|proxy| local_sdk(&proxy.url()));
        let (own_store, own_table) =
            (Store::new(&through_dynamodb, "EventTable", 90), DeliveryTable::new(&through_dynamodb, "DeliveryTable"));
        let (doorbells, clock) = (Doorbells::new(&through_sqs, &queue), Clock::manual(Clock::System.now()));
        let http = ScopedClient::new(&Tls::native().unwrap(), CONNECT_TIMEOUT);
        let destinations: BTreeMap<_, _> =
            destinations.into_iter().map(|(name, destination)| (name.to_owned(), destination)).collect();
        let world = World {
            outbox: Outbox {
                store: own_store.clone(),
                table: own_table.clone(),
                doorbells: doorbells.clone(),
                since: Default::default(),
            },
            deliverer: Deliverer {
                store: own_store,
                table: own_table,
                sender: Sender::new(http, sqs_sdk, true),
                doorbells,
                slow_doorbells: Doorbells::of_slow(&through_sqs, &slow_queue),
                slow_limits: SlowLimits::default(),
                clock: clock.clone(),
                random: Random::System,
                states: Default::default(),
            },
            stream: TableStream::open(&dynamodb, "EventTable").await.unwrap(),
            destinations: Destinations::from_map(destinations),
            clock,
            store,
            table,
            receiver,
            sqs,
            engines,
            proxies,
        };
        for (name, _) in world.destinations.iter() {
            world.table.destination(name, world.now()).await.unwrap();
        }
        world
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Records an event of a subject, which was received `seconds` from now.
    pub(crate) async fn record(&self, id: &str, subject: &str, seconds: i64) -> Event {
        let event = event(id, subject, self.now().plus_secs(seconds), r#"{"type":"x","n":1}"#);
        self.record_event(&event).await;
        event
    }

    pub(crate) async fn record_event(&self, event: &Event) {
        self.store.record(event, self.now()).await.unwrap();
    }

    /// Passes the new changes of the table to the outbox. Returns the number of deliveries.
    pub(crate) async fn fill_outbox(&mut self) -> usize {
        let mut deliveries = 0;
        loop {
            let batch = self.stream.next().await.unwrap();
            if batch.records.is_empty() {
                return deliveries;
            }
            let added = self.outbox.add(&batch, &self.destinations, self.now()).await;
            assert_eq!((added.response, added.error), (Default::default(), None));
            deliveries += added.deliveries;
        }
    }

    /// Takes all doorbells that ring now.
    pub(crate) async fn rung(&self) -> Vec<Doorbell> {
        let mut doorbells = Vec::new();
        for queue in [&self.deliverer.doorbells, &self.deliverer.slow_doorbells].map(Doorbells::queue) {
            loop {
                let receive = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10);
                let messages = receive.send().await.unwrap().messages.unwrap_or_default();
                if messages.is_empty() {
                    break;
                }
                for message in messages {
                    doorbells.push(Doorbell::read(message.body().unwrap()).unwrap());
                    let delete = self.sqs.delete_message().queue_url(queue);
                    delete.set_receipt_handle(message.receipt_handle).send().await.unwrap();
                }
            }
        }
        doorbells
    }

    pub(crate) async fn doorbells(&self) -> Vec<Lane> {
        self.rung().await.into_iter().map(|doorbell| doorbell.lane).collect()
    }

    pub(crate) async fn drain(&self, lane: &Lane) -> Rung {
        self.drain_again(lane, false).await
    }

    pub(crate) async fn drain_again(&self, lane: &Lane, is_repeated: bool) -> Rung {
        let doorbell = Doorbell { lane: lane.clone(), is_whole: is_repeated, is_slow: false };
        self.answer(&doorbell).await.unwrap()
    }

    pub(crate) async fn answer(&self, doorbell: &Doorbell) -> Result<Rung, DeliverError> {
        let until = Instant::now() + Duration::from_secs(60);
        self.deliverer.drain(doorbell, &self.destinations, until, &|_| {}).await
    }

    /// Handles all doorbells that ring now, once each.
    pub(crate) async fn deliver(&self) -> Vec<Rung> {
        let mut rung = Vec::new();
        for doorbell in self.rung().await {
            rung.push(self.answer(&doorbell).await.unwrap());
        }
        rung
    }

    /// Rings for what is due, and handles the doorbells. Returns their number.
    pub(crate) async fn sweep(&self) -> usize {
        let until = Instant::now() + Duration::from_secs(60);
        let rung = self.deliverer.sweep(&self.destinations, until).await.unwrap();
        self.deliver().await;
        rung
    }

    /// Returns the names of the destinations that get nothing.
    pub(crate) async fn stopped(&self) -> Vec<String> {
        let stopped = self.deliverer.stopped(&self.destinations).await.unwrap();
        stopped.into_iter().map(|(state, _)| state.name).collect()
    }

    pub(crate) async fn delivery(&self, destination: &str, event: &Event) -> Delivery {
        let (key, order) = (event.id.as_str(), self.destinations.get(destination).unwrap().order);
        let lane = Lane::of(destination, order, event.subject.as_ref().map(Subject::as_str), key);
        self.table.get(&lane, &RowKey::of(event.received_at, key)).await.unwrap().unwrap()
    }
}

pub(crate) fn event(id: &str, subject: &str, received_at: Timestamp, body: &str) -> Event {
    Event {
        id: EventId::from_stored(id.to_owned()),
        source: "ada".to_owned(),
        event_type: Some("v1.conversation.message".to_owned()),
        subject: (!subject.is_empty()).then(|| Subject::from_stored(subject.to_owned())),
        occurred_at: received_at,
        received_at,
        fingerprint: Fingerprint::of(body),
        nonce: Nonce::random().unwrap(),
        verified_by: "svix".to_owned(),
        body: Bytes::from(body.to_owned()),
        answer: None,
        asked: None,
        flags: Flags::default(),
        is_one_question: false,
    }
}
