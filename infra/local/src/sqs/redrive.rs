//! `StartMessageMoveTask`, which the SQS engine does not implement: the console's and the CLI's "redrive".
//!
//! AWS moves in the background and gives moved messages new ids; here the move is over when the call returns, and ids are
//! new as well. As in AWS, messages that were sent to the dead-letter queue directly go back only to a destination that
//! is named, for SQS does not know where they came from.

use rustack_sqs_model::error::SqsError;
use rustack_sqs_model::input::{DeleteMessageInput, ReceiveMessageInput, SendMessageInput, StartMessageMoveTaskInput};

use super::{Reply, Sqs, reply};

impl Sqs {
    pub(super) async fn move_messages(&self, input: StartMessageMoveTaskInput) -> Reply {
        let destination = input.destination_arn.ok_or_else(|| {
            SqsError::invalid_parameter_value("name a DestinationArn: the messages' source is unknown")
        })?;
        let from = self.engine.queue_url_for_arn(&input.source_arn)?;
        let to = self.engine.queue_url_for_arn(&destination)?;
        loop {
            let receive = ReceiveMessageInput {
                queue_url: from.clone(),
                max_number_of_messages: Some(10),
                message_attribute_names: vec!["All".to_owned()],
                ..ReceiveMessageInput::default()
            };
            let received = self.receive(receive).await?.messages;
            if received.is_empty() {
                return reply(&serde_json::json!({"TaskHandle": "moved"}));
            }
            for message in received {
                let send = SendMessageInput {
                    queue_url: to.clone(),
                    message_body: message.body.unwrap_or_default(),
                    message_attributes: message.message_attributes,
                    ..SendMessageInput::default()
                };
                self.send(send).await?;
                let receipt_handle = message.receipt_handle.unwrap_or_default();
                self.delete(DeleteMessageInput { queue_url: from.clone(), receipt_handle }).await?;
            }
        }
    }
}
