//! `StartMessageMoveTask`, which the SQS engine does not implement: the console's and the CLI's "redrive".
//!
//! AWS moves in the background and gives moved messages new ids; here the move is over when the call returns, and ids are
//! new as well. As in AWS, messages that were sent to the dead-letter queue directly go back only to a destination that
//! is named, for SQS does not know where they came from.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rustack_sqs_core::handler::RustackSqsHandler;
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_http::body::SqsResponseBody;
use rustack_sqs_http::dispatch::SqsHandler;
use rustack_sqs_http::response::json_response;
use rustack_sqs_model::error::{SqsError, SqsErrorCode};
use rustack_sqs_model::input::{DeleteMessageInput, ReceiveMessageInput, SendMessageInput, StartMessageMoveTaskInput};
use rustack_sqs_model::operations::SqsOperation;

/// The engine, and redrives.
#[derive(Debug)]
pub(crate) struct WithMoveTasks {
    inner: RustackSqsHandler,
    provider: Arc<RustackSqs>,
}

type Reply = Result<http::Response<SqsResponseBody>, SqsError>;

impl WithMoveTasks {
    pub(crate) fn new(inner: RustackSqsHandler, provider: Arc<RustackSqs>) -> Self {
        WithMoveTasks { inner, provider }
    }
}

impl SqsHandler for WithMoveTasks {
    fn handle_operation(&self, op: SqsOperation, body: Bytes) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        if op == SqsOperation::StartMessageMoveTask {
            let provider = Arc::clone(&self.provider);
            return Box::pin(async move { move_messages(&provider, &body).await });
        }
        self.inner.handle_operation(op, body)
    }
}

async fn move_messages(provider: &RustackSqs, body: &[u8]) -> Reply {
    let wrong = |what: &str| SqsError::new(SqsErrorCode::InvalidParameterValue, what);
    let input: StartMessageMoveTaskInput = serde_json::from_slice(body).map_err(|_| wrong("unreadable input"))?;
    let destination =
        input.destination_arn.ok_or_else(|| wrong("name a DestinationArn: the messages' source is unknown"))?;
    let (from, to) = (provider.queue_url_for_arn(&input.source_arn)?, provider.queue_url_for_arn(&destination)?);
    loop {
        let receive = ReceiveMessageInput {
            queue_url: from.clone(),
            max_number_of_messages: Some(10),
            message_attribute_names: vec!["All".to_owned()],
            ..ReceiveMessageInput::default()
        };
        let received = provider.receive_message(receive).await?.messages;
        if received.is_empty() {
            return Ok(json_response(br#"{"TaskHandle":"moved"}"#.to_vec(), "move"));
        }
        for message in received {
            let send = SendMessageInput {
                queue_url: to.clone(),
                message_body: message.body.unwrap_or_default(),
                message_attributes: message.message_attributes,
                ..SendMessageInput::default()
            };
            provider.send_message(send).await?;
            let receipt_handle = message.receipt_handle.unwrap_or_default();
            provider.delete_message(DeleteMessageInput { queue_url: from.clone(), receipt_handle }).await?;
        }
    }
}
