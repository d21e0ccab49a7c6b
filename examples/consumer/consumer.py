"""The consumer in Python 3.14: acts at most once on every session that ends."""
import base64
import json
import os
from compression import zstd

import boto3
from botocore.exceptions import ClientError

dynamodb = boto3.resource("dynamodb")
events = dynamodb.Table(os.environ["TABLE_NAME"])
acted = dynamodb.Table(os.environ["ACTED_TABLE"])


def payload(image):
    attribute = image.get("payload", {})
    if "S" in attribute:
        return json.loads(attribute["S"])
    if "B" in attribute:
        compressed = base64.b64decode(attribute["B"])
    else:
        # A large payload is in chunks, see docs/table.md.
        nonce = base64.b64decode(image["nonce"]["B"]).hex()
        keys = [f"chunk:{nonce}/{n}" for n in range(int(image["chunks"]["N"]))]
        compressed = b"".join(events.get_item(Key={"event_id": key})["Item"]["payload"].value for key in keys)
    return json.loads(zstd.decompress(compressed))


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
