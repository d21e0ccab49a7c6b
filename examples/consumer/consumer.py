"""The consumer in Python 3.14: acts at most once on every session that ends."""
import base64
import json
import os
from compression import zstd

import boto3
from botocore.exceptions import ClientError

acted = boto3.resource("dynamodb").Table(os.environ["ACTED_TABLE"])


def payload(image):
    if "B" in (attribute := image.get("payload", {})):
        return json.loads(zstd.decompress(base64.b64decode(attribute["B"])))
    return json.loads(attribute["S"]) if "S" in attribute else None  # None: stored in chunks, see docs/table.md


def handler(batch, _):
    for change in batch["Records"]:
        image = change["dynamodb"].get("NewImage", {})
        is_new = change["eventName"] == "INSERT" and "conflict_of" not in image
        if not is_new or image.get("event_type", {}).get("S") != "session.ended":
            continue
        try:
            acted.put_item(Item={"event_id": image["event_id"]["S"]}, ConditionExpression="attribute_not_exists(event_id)")
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                continue
            return {"batchItemFailures": [{"itemIdentifier": change["dynamodb"]["SequenceNumber"]}]}
        print(json.dumps({"message": "session ended", "session": payload(image)["id"]}))
    return {"batchItemFailures": []}
