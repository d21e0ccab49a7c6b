"""Records Ada's webhook events. Follows the documentation of Powertools, boto3 and Standard Webhooks."""

import base64
import json
import os
import time
from datetime import datetime, timezone

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyAlreadyInProgressError
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET_ID = os.environ["SECRET_ID"]
TABLE_NAME = os.environ["TABLE_NAME"]
TTL_SECONDS = 90 * 24 * 60 * 60

# One session, because every session loads the SDK's data files again.
session = boto3.session.Session()
dynamodb = session.client("dynamodb")
secrets = SecretsProvider(boto3_client=session.client("secretsmanager"))
logger = Logger(service="ada-webhooks")
idempotency_config = IdempotencyConfig()
idempotency_store = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"], boto3_client=dynamodb)


@logger.inject_lambda_context
def handler(event: dict, context: LambdaContext) -> dict:
    idempotency_config.register_lambda_context(context)
    headers = event["headers"]
    body = event.get("body", "")
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body)

    secret = secrets.get(SECRET_ID, max_age=300, transform="json")["ada"]["signing_secrets"][0]
    try:
        message = Webhook(secret).verify(body, headers)
    except (WebhookVerificationError, ValueError):  # The library raises ValueError for a malformed signature.
        logger.info("Refused a signature")
        return answer(401, {"error": "invalid signature"})

    try:
        result = record(
            message_id=headers["webhook-id"],
            message=message,
            payload=body if isinstance(body, str) else body.decode(),
        )
    except IdempotencyAlreadyInProgressError:
        return answer(409, {"error": "this message is being recorded"})
    logger.info("Recorded an event", extra={**result, "event_type": message.get("type")})
    return answer(200, result)


@idempotent_function(
    data_keyword_argument="message_id",
    config=idempotency_config,
    persistence_store=idempotency_store,
)
def record(message_id: str, message: dict, payload: str) -> dict:
    event_id = f"ada:{message_id}"
    item = {
        "event_id": {"S": event_id},
        "source": {"S": "ada"},
        "event_type": {"S": message["type"]},
        "received_at": {"S": datetime.now(timezone.utc).isoformat()},
        "payload": {"S": payload},
        "expires_at": {"N": str(int(time.time()) + TTL_SECONDS)},
    }
    if conversation := message.get("data", {}).get("conversation_id"):
        item["subject"] = {"S": conversation}
    try:
        dynamodb.put_item(TableName=TABLE_NAME, Item=item, ConditionExpression="attribute_not_exists(event_id)")
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return {"status": "duplicate", "event_id": event_id}
    return {"status": "recorded", "event_id": event_id}


def answer(status: int, body: dict) -> dict:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(body),
    }
