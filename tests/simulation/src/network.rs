//! The network: carries requests to the services, with delays and faults, and their answers back.
//!
//! Instances reach it through the HTTP clients that they are given: that of the AWS SDK, and that for agents and
//! control URLs. Everything that an instance does in the world goes through here.

use std::fmt;
use std::future::pending;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use gatehouse_egress::client::ResponseFuture;
use gatehouse_egress::{RequestError, Transport};
use gatehouse_memory::Response;
use gatehouse_memory::sqs::SqsEvent;
use http::Request;
use serde_json::Value;

use crate::chance::Chance;
use crate::model::Checked;
use crate::plan::{Death, FaultKind, Function, Ms, Service};
use crate::trace::digest;
use crate::world::{DELIVERY_TABLE, State, World};

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// The instance with this number.
    Instance(usize),
    /// A command of an operator, with its number.
    Operator(usize),
    /// AWS itself: the event sources of the queues, and DynamoDB's removal of expired items.
    Aws,
    /// A vendor or a chat client, with the number of its action and of its attempt.
    Outside(usize, u64),
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoResponse {
    /// The service was not reached.
    Unreachable,
    /// The connection broke.
    Broken,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// How long the request takes to the service.
    pub there: Ms,
    /// How long the answer takes back.
    pub back: Ms,
    /// How it fails.
    pub fault: Option<FaultKind>,
    /// When the caller dies with it.
    dies: Option<Death>,
}

impl State {
    /// Decides the fate of the next request of `caller` to `service`.
    fn fate(&mut self, caller: Caller, service: Service, now: Ms) -> Fate {
        let (name, dies) = match caller {
            Caller::Instance(number) => {
                let instance_state = &mut self.instances[number];
                instance_state.requests += 1;
                let is_last = |(at, _): &(u64, Death)| *at <= instance_state.requests;
                (
                    [1, number as u64, instance_state.requests],
                    instance_state.kill_at.filter(is_last).map(|(_, death)| death),
                )
            }
            Caller::Operator(number) => {
                let requests = self.operator_requests.entry(number).or_default();
                *requests += 1;
                ([2, number as u64, *requests], None)
            }
            Caller::Outside(action, attempt) => ([3, action as u64, attempt], None),
            Caller::Aws => ([4, 0, self.stats.requests], None),
        };
        let mut chance = Chance::of(self.plan.seed, &[2, name[0], name[1], name[2]]);
        let mut latency = || if chance.happens(20) { chance.between(20, 200) } else { chance.between(1, 9) };
        let (there, back) = (latency(), latency());
        self.faults.retain(|(until, ..)| *until > now);
        let mut fault = None;
        for (_, n, active) in &self.faults {
            // Each fault has its own numbers, so that the others do not depend on it.
            let mut chance = Chance::of(self.plan.seed, &[3, *n as u64, name[0], name[1], name[2]]);
            if active.service == service && chance.happens(active.share) {
                fault = fault.or(Some((active.kind, chance.between(200, 3000))));
            }
        }
        match fault {
            Some((FaultKind::Slow, delay)) if delay % 2 == 0 => {
                Fate { there: there + delay, back, fault: Some(FaultKind::Slow), dies }
            }
            Some((FaultKind::Slow, delay)) => Fate { there, back: back + delay, fault: Some(FaultKind::Slow), dies },
            fault => Fate { there, back, fault: fault.map(|(kind, _)| kind), dies },
        }
    }
}

impl World {
    /// Sends a request to a service of AWS.
    async fn aws(
        &self,
        caller: Caller,
        service: Service,
        operation: &str,
        body: Value,
    ) -> Result<Response, NoResponse> {
        let about = Target::of(service, &body);
        let apply = |world: &World| {
            let response = world.apply(caller, service, operation, &body);
            let now = world.now();
            let outcome = response.code().unwrap_or("ok").to_owned();
            let mut state = world.state();
            let name = state.name(caller);
            state.trace.add(
                now,
                format_args!(
                    "{name} {service:?}.{operation} {about} [{:016x}] -> {outcome} [{:016x}]",
                    digest(&body),
                    digest(&response.body)
                ),
            );
            response
        };
        let refuse = |kind| refusal(service, kind);
        self.carry(caller, service, operation, &about, apply, refuse).await
    }

    /// Carries a request there and back. `apply` lets the service handle it; `refuse` is the answer of a service that
    /// fails.
    pub async fn carry<R>(
        &self,
        caller: Caller,
        service: Service,
        operation: &str,
        about: &Target,
        apply: impl FnOnce(&World) -> R,
        refuse: impl FnOnce(FaultKind) -> R,
    ) -> Result<R, NoResponse> {
        if let Caller::Instance(number) = caller {
            self.running(number).await;
        }
        let fate = {
            let now = self.now();
            let mut state = self.state();
            state.stats.requests += 1;
            let fate = state.fate(caller, service, now);
            if let (Caller::Instance(number), Some(_)) = (caller, fate.fault) {
                state.instances[number].faults += 1;
            }
            if let Some(fault) = fate.fault {
                state.record_fault(&format!("{fault:?}"), service, operation, about);
                let name = state.name(caller);
                state.trace.add(now, format_args!("{name} {service:?}.{operation} {about}: {fault:?}"));
            }
            if fate.dies.is_some() {
                state.record_fault("Killed", service, operation, about);
            }
            if let (Caller::Instance(number), Some(key)) = (caller, &about.key) {
                state.model.chat.request_began(number, key);
            }
            fate
        };
        let die = |when: &str| {
            if let Caller::Instance(number) = caller {
                self.kill(number, &format!("{when} {service:?}.{operation} {about}"));
            }
        };
        if fate.dies == Some(Death::BeforeRequest) {
            die("before");
            return pending().await;
        }
        if fate.fault == Some(FaultKind::Unreachable) {
            self.wait(1).await;
            return Err(NoResponse::Unreachable);
        }
        self.wait(fate.there).await;
        let answer = match fate.fault {
            Some(FaultKind::Lost) => return pending().await,
            Some(FaultKind::Cut) => return Err(NoResponse::Broken),
            Some(kind @ (FaultKind::Throttled | FaultKind::Internal | FaultKind::Denied | FaultKind::Rejected)) => {
                refuse(kind)
            }
            _ => apply(self),
        };
        if fate.dies == Some(Death::AfterRequest) {
            die("after");
            return pending().await;
        }
        self.wait(fate.back).await;
        match fate.fault {
            Some(FaultKind::ResponseLost) => return pending().await,
            Some(FaultKind::ResponseCut) => return Err(NoResponse::Broken),
            _ => {}
        }
        if let Caller::Instance(number) = caller {
            self.running(number).await;
            if let Some(key) = about.key.as_ref().filter(|_| matches!(fate.fault, None | Some(FaultKind::Slow))) {
                self.state().model.chat.request_ended(number, key);
            }
        }
        Ok(answer)
    }

    /// Lets a service handle a request, and the model check the changes.
    fn apply(&self, caller: Caller, service: Service, operation: &str, body: &Value) -> Response {
        let now = self.epoch_ms();
        let mut state = self.state();
        if let (Caller::Instance(number), Service::DynamoDb) = (caller, service)
            && let Err(violated) = may_request(state.instances[number].function, operation, body)
        {
            drop(state);
            self.check(Err(violated));
            state = self.state();
        }
        let State { dynamodb, sqs, secrets_manager, choices, .. } = &mut *state;
        let response = match service {
            Service::DynamoDb => dynamodb.answer(operation, body, now),
            Service::Sqs => sqs.answer(operation, body, now, choices),
            _ => secrets_manager.answer(operation, body),
        };
        let checked = state.observe(caller, service, operation, body, now);
        drop(state);
        self.check(checked);
        if service == Service::DynamoDb && operation != "GetItem" {
            self.deliveries_changed();
        }
        // A message may be new or visible again.
        if service == Service::Sqs && !operation.starts_with("Receive") && !operation.starts_with("Get") {
            self.queue_changed();
        }
        response
    }
}

impl State {
    /// Lets the model see what changed in the table and the queues.
    pub fn observe(&mut self, caller: Caller, service: Service, operation: &str, body: &Value, now: i64) -> Checked {
        let changes = self.dynamodb.take_changes();
        if self.measured.is_some() {
            for change in &changes {
                self.stream.add(change);
            }
            self.sqs.take_events();
            return Ok(());
        }
        if service == Service::DynamoDb && !self.is_delivering(caller) {
            let units = self.dynamodb.last_units().write;
            self.model.cost.count(caller, operation, body, units, &changes);
        }
        if self.plan.has_deliveries {
            self.model.destinations.requested(caller, operation, body, now);
            for change in &changes {
                if let Some(position) = self.stream.add(change) {
                    self.model.destinations.streamed(change.new.as_ref(), position);
                }
            }
        }
        let mut checked = changes.iter().try_for_each(|change| self.model.table_changed(change, caller, now));
        for event in self.sqs.take_events().into_iter().filter(|event| !is_doorbell(event)) {
            let found = self.model.queue_changed(&event, &self.sqs, caller, now);
            checked = checked.and(found);
        }
        checked
    }

    /// Whether a caller is an instance of outbox or deliver.
    fn is_delivering(&self, caller: Caller) -> bool {
        let Caller::Instance(number) = caller else { return false };
        [Function::Outbox, Function::Deliver].contains(&self.instances[number].function)
    }

    /// Returns the name of a caller.
    #[must_use]
    pub fn name(&self, caller: Caller) -> String {
        match caller {
            Caller::Instance(number) => format!("{}#{number}", self.instances[number].function),
            other => other.to_string(),
        }
    }

    /// Counts a fault, with what it hits and in which state that is.
    pub fn record_fault(&mut self, kind: &str, service: Service, operation: &str, about: &Target) {
        self.stats.faults += 1;
        let state = match &about.key {
            Some(key) if service == Service::DynamoDb => self.model.state_of(key),
            _ => "-".to_owned(),
        };
        let point = format!("{service:?}.{operation}");
        *self.stats.coverage.entry((kind.to_owned(), point, state)).or_default() += 1;
    }
}

/// Whether an event of a queue is about a doorbell. A doorbell may be lost.
fn is_doorbell(event: &SqsEvent) -> bool {
    let (SqsEvent::Sent { queue, .. }
    | SqsEvent::Received { queue, .. }
    | SqsEvent::Deleted { queue, .. }
    | SqsEvent::Expired { queue, .. }
    | SqsEvent::Moved { from: queue, .. }) = event;
    queue == "DeliveryQueue" || queue == "SlowDeliveryQueue"
}

/// Checks that a function has the permission for a request, and that its reads are consistent.
fn may_request(function: Function, operation: &str, body: &Value) -> Checked {
    let of_deliveries = body["TableName"] == DELIVERY_TABLE;
    let is_permitted = match (function, operation) {
        (Function::Outbox, "PutItem" | "GetItem" | "UpdateItem" | "Query") => of_deliveries,
        (Function::Deliver, "PutItem" | "UpdateItem" | "Query") => of_deliveries,
        (Function::Deliver, "GetItem") => !of_deliveries,
        (Function::Outbox | Function::Deliver, "BatchGetItem") => true,
        (Function::Outbox | Function::Deliver, _) => false,
        (_, "GetItem" | "PutItem") => !of_deliveries,
        (Function::AgentChat, "BatchGetItem" | "UpdateItem") => !of_deliveries,
        _ => false,
    };
    if !is_permitted {
        return Err(("permissions", format!("{function} has no permission for {operation}")));
    }
    let is_consistent = |read: &Value| read["ConsistentRead"] == true;
    let are_consistent = match operation {
        "GetItem" => is_consistent(body),
        // Only the sweep reads the index.
        "Query" => is_consistent(body) || body["IndexName"] == "by-due",
        "BatchGetItem" => body["RequestItems"].as_object().is_some_and(|tables| tables.values().all(is_consistent)),
        _ => true,
    };
    if are_consistent { Ok(()) } else { Err(("I6", format!("{function} decides by a {operation} that may be stale"))) }
}

/// The target of a request: an item, a queue or a call.
#[derive(Debug, Clone, Default)]
pub struct Target {
    key: Option<String>,
    text: String,
}

impl Target {
    /// Creates a target from a text.
    #[must_use]
    pub fn named(text: impl fmt::Display) -> Self {
        Target { key: None, text: text.to_string() }
    }

    fn of(service: Service, body: &Value) -> Self {
        if service == Service::DynamoDb {
            let key = item_key(body).map(str::to_owned);
            let text = key.clone().or_else(|| delivery_key(body)).unwrap_or_else(|| "-".to_owned());
            return Target { text, key };
        }
        let queue = body["QueueUrl"].as_str().and_then(|url| url.rsplit('/').next());
        Target { key: None, text: queue.unwrap_or("-").to_owned() }
    }
}

/// Returns the key of the item that a request to DynamoDB is about, if it is about one.
pub(crate) fn item_key(body: &Value) -> Option<&str> {
    body.pointer("/Item/event_id/S").or_else(|| body.pointer("/Key/event_id/S"))?.as_str()
}

/// Returns a short name of the lane, and perhaps the row, that a request to DynamoDB is about.
fn delivery_key(body: &Value) -> Option<String> {
    let of = |name: &str| ["Item", "Key"].iter().find_map(|part| body[part][name]["S"].as_str());
    let lane = of("lane").or_else(|| body.pointer("/ExpressionAttributeValues/:lane/S")?.as_str())?;
    let short = |text: &str| text.get(..46).unwrap_or(text).to_owned();
    let lane = short(lane).get(..18).map_or_else(|| lane.to_owned(), str::to_owned);
    Some(of("row").map_or_else(|| lane.clone(), |row| format!("{lane} {}", short(row))))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Instance(number) => write!(f, "instance #{number}"),
            Caller::Operator(action) => write!(f, "operator (action {action})"),
            Caller::Aws => f.write_str("AWS"),
            Caller::Outside(action, attempt) => write!(f, "sender (action {action}, attempt {attempt})"),
        }
    }
}

/// Returns the error of a service that fails.
fn refusal(service: Service, kind: FaultKind) -> Response {
    let (status, code) = match (kind, service) {
        (FaultKind::Throttled, Service::DynamoDb) => (400, "ProvisionedThroughputExceededException"),
        (FaultKind::Throttled, _) => (400, "ThrottlingException"),
        (FaultKind::Denied, _) => (400, "AccessDeniedException"),
        (FaultKind::Rejected, _) => (400, "ValidationException"),
        _ => (500, "InternalServerError"),
    };
    Response::error(status, code, "simulated")
}

/// The HTTP clients of one caller: for the AWS SDK and for outgoing requests.
#[derive(Clone)]
pub struct Wire {
    /// The world.
    pub world: World,
    /// Who uses the client.
    pub caller: Caller,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.caller)
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let (service, operation) = target.split_once('.').unwrap_or_default();
        let service = match service {
            "DynamoDB_20120810" => Service::DynamoDb,
            "AmazonSQS" => Service::Sqs,
            _ => Service::SecretsManager,
        };
        let operation = operation.to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let Wire { world, caller } = self.clone();
        HttpConnectorFuture::new(async move {
            match world.aws(caller, service, &operation, body).await {
                Ok(response) => Ok(http_response(&response)),
                Err(_) => Err(ConnectorError::io("the connection broke".into())),
            }
        })
    }
}

fn http_response(response: &Response) -> HttpResponse {
    let status = http::StatusCode::from_u16(response.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut http = HttpResponse::new(status.into(), SdkBody::from(response.body.to_string()));
    // The SDK reads the error codes of SQS from this header.
    if let Some(code) = gatehouse_memory::sqs::query_error(response) {
        http.headers_mut().insert("x-amzn-query-error", code);
    }
    http
}

impl Transport for Wire {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture {
        let wire = self.clone();
        Box::pin(async move {
            let sent = wire.send_outgoing(request).await;
            sent.map_err(|error| match error {
                NoResponse::Unreachable => RequestError::Connect,
                NoResponse::Broken => RequestError::Broken,
            })
        })
    }
}
