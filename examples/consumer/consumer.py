"""The consumer in Python: acts at most once on every session that ends.

Python 3.14 can read zstd. For earlier versions, package the module backports.zstd with the function.
"""
import base64
import json
import os
import time

import boto3
from boto3.dynamodb.types import Binary
from botocore.exceptions import ClientError

try:
    from compression import zstd
except ImportError:
    from backports import zstd

dynamodb = boto3.resource("dynamodb")
events = dynamodb.Table(os.environ["TABLE_NAME"])
acted = dynamodb.Table(os.environ["ACTED_TABLE"])


def is_ended_session(image):
    """Whether a change is the record of an ended session, and not a copy that conflicts with the record."""
    return image.get("event_type") == {"S": "session.ended"} and "nonce" in image and "conflict_of" not in image


def read(event_id):
    """Reads an item; None if it does not exist or has expired."""
    item = events.get_item(Key={"event_id": event_id}, ConsistentRead=True).get("Item")
    return item if item and item["expires_at"] >= time.time() else None


def payload(record):
    """Decodes the body of a record. It is a JSON object, or a JSON string that contains one."""
    body = json.loads(body_text(record))
    return json.loads(body) if isinstance(body, str) else body


def body_text(record):
    body = record.get("payload")
    if isinstance(body, str):
        return body
    if body is None:
        # A large payload is in chunks, see docs/table.md.
        nonce = record["nonce"].value.hex()
        chunks = [read(f"chunk:{nonce}/{n}") for n in range(int(record["chunks"]))]
        if any("payload" not in (chunk or {}) for chunk in chunks):
            raise LookupError("a chunk is missing; the event is being erased")
        compressed = b"".join(chunk["payload"].value for chunk in chunks)
    else:
        compressed = body.value
    return zstd.decompress(compressed)


def handle(image):
    # The stream shows a record as it was written. Since then it may have been erased, or it may have expired and been
    # replaced. So the record itself is read.
    record = read(image["event_id"]["S"])
    if record is None or record.get("nonce") != Binary(base64.b64decode(image["nonce"]["B"])):
        return
    session = payload(record).get("id")
    try:
        # The nonce differs if an expired record was replaced: then it is another event with the same id.
        acted.put_item(
            Item={"event_id": record["event_id"], "nonce": record["nonce"]},
            ConditionExpression="attribute_not_exists(event_id) OR nonce <> :nonce",
            ExpressionAttributeValues={":nonce": record["nonce"]},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            return
        raise
    # Replace this line with your consumer's action.
    print(json.dumps({"message": "session ended", "event_id": record["event_id"], "session": session}), flush=True)


def handler(batch, _):
    """Handles a batch in order. Lambda retries it from the first change that fails."""
    for change in batch["Records"]:
        image = change["dynamodb"].get("NewImage", {})
        try:
            if is_ended_session(image):
                handle(image)
        except Exception as error:
            print(json.dumps({"message": "change failed", "error": repr(error)}), flush=True)
            return {"batchItemFailures": [{"itemIdentifier": change["dynamodb"]["SequenceNumber"]}]}
    return {"batchItemFailures": []}
