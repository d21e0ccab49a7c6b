"""Runs the consumers of examples/consumer with the stream of a `gatehouse dev`, as Lambda would call them."""
import base64
import contextlib
import http.server
import importlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
import uuid

import boto3

GATEHOUSE, RUST = "target/debug/gatehouse", "target/debug/example-consumer"
# Body sizes whose payloads are plain, compressed, and in two chunks.
SIZES = {"plain": 10, "compressed": 8_000, "chunked": 1_000_000}


class Stream:
    """Reads the stream with the SDK, and converts its records to the form that Lambda passes to a function."""

    def __init__(self, endpoint, table):
        self.client = boto3.client("dynamodbstreams", endpoint_url=endpoint)
        arn = boto3.client("dynamodb", endpoint_url=endpoint).describe_table(TableName=table)["Table"]["LatestStreamArn"]
        shard, = self.client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        start = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        self.iterator = self.client.get_shard_iterator(**start)["ShardIterator"]

    def read(self):
        """Returns the changes since the last call."""
        changes = []
        while True:
            page = self.client.get_records(ShardIterator=self.iterator, Limit=10)
            self.iterator = page["NextShardIterator"]
            if not page["Records"]:
                return changes
            changes += [self.as_lambda(record) for record in page["Records"]]

    @staticmethod
    def as_lambda(record):
        record["dynamodb"]["ApproximateCreationDateTime"] = record["dynamodb"]["ApproximateCreationDateTime"].timestamp()
        return json.loads(json.dumps(record, default=lambda value: base64.b64encode(value).decode()))


class Acted:
    """The table in which a consumer marks events, and the sessions on which it has acted."""

    def __init__(self, endpoint, name):
        self.table, self.sessions = boto3.resource("dynamodb", endpoint_url=endpoint).create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "event_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "event_id", "KeyType": "HASH"}],
        ), []


@contextlib.contextmanager
def python_consumer(environment):
    """Imports consumer.py and yields a function that handles a batch. Returns its response and its lines."""
    os.environ.update(environment)
    sys.path.insert(0, "examples/consumer")
    consumer = importlib.import_module("consumer")

    def handle(batch):
        lines = []
        consumer.print = lambda line, **_: lines.append(json.loads(line))
        return consumer.handler(batch, None), lines

    yield handle


@contextlib.contextmanager
def rust_consumer(environment):
    """Runs the Rust function with a Runtime API, and yields a function that handles a batch."""
    batches, responses = queue.Queue(), queue.Queue()

    class RuntimeApi(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            batch = batches.get()
            body = json.dumps(batch).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid.uuid4()))
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 60) * 1000)))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:c")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            responses.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lambda_variables = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}", "AWS_LAMBDA_FUNCTION_NAME": "consumer",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_LOG_GROUP_NAME": "g", "AWS_LAMBDA_LOG_STREAM_NAME": "s",
    }
    process = subprocess.Popen([RUST], env=os.environ | environment | lambda_variables, stdout=subprocess.PIPE, text=True)

    def handle(batch):
        batches.put(batch)
        path, response = responses.get(timeout=60)
        assert path.endswith("/response"), (path, response)
        batches.put({"Records": []})
        lines = []
        # The function writes its lines before it responds, and has written them when the next batch is done.
        responses.get(timeout=60)
        os.set_blocking(process.stdout.fileno(), False)
        while line := process.stdout.readline():
            lines.append(json.loads(line))
        return json.loads(response), lines

    try:
        yield handle
    finally:
        process.kill()
        process.wait()
        server.shutdown()


def main():
    dev = subprocess.Popen([GATEHOUSE, "dev", "--port", "0", "--json"], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
    try:
        check(json.loads(dev.stdout.readline()))
    finally:
        dev.kill()
        dev.wait()


def check(ready):
    endpoint, table = ready["dynamodb"], ready["table"]
    os.environ.update({
        "AWS_ENDPOINT_URL_DYNAMODB": endpoint, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
    })
    url = ready["functions"]["session-lifecycle"]
    base = url.split("/lambda-url")[0]
    events, stream = boto3.resource("dynamodb").Table(table), Stream(endpoint, table)

    def gatehouse(*arguments, body=None):
        result = subprocess.run([GATEHOUSE, *arguments], input=body, capture_output=True, text=True)
        assert result.returncode == 0, (arguments, result.stdout, result.stderr)
        return result.stdout

    def send(session, expected, size=10):
        body = {"id": session, "eventType": "session.ended", "endedAt": "2026-11-20T11:17:44.913Z",
                "note": secrets.token_hex(size // 2)}
        found = gatehouse("send", "agntix", "-", "--to", url, body=json.dumps(body))
        assert f"200 {expected}" in found, found

    with contextlib.ExitStack() as stack:
        consumers = {}
        for name, start in (("Python", python_consumer), ("Rust", rust_consumer)):
            acted = Acted(endpoint, f"Acted{name}")
            handle = stack.enter_context(start({"TABLE_NAME": table, "ACTED_TABLE": acted.table.name}))
            consumers[name] = (acted, handle)

        def deliver(changes, expected, failed=0):
            for name, (acted, handle) in consumers.items():
                response, lines = handle({"Records": changes})
                assert len(response["batchItemFailures"]) == failed, (name, response, lines)
                sessions = [line["session"] for line in lines if line["message"] == "session ended"]
                assert sessions == expected, (name, expected, lines)

        for name, size in SIZES.items():
            send(name, "recorded", size)
        keys = {name: events.get_item(Key={"event_id": f"agntix:session.ended:{name}"})["Item"] for name in SIZES}
        kinds = {name: type(item.get("payload")).__name__ for name, item in keys.items()}
        assert kinds == {"plain": "str", "compressed": "Binary", "chunked": "NoneType"}, kinds
        send("plain", "conflict")
        send("erased", "recorded", SIZES["chunked"])
        changes = stream.read()
        gatehouse("events", "erase", "--subject", "agntix:session:erased", "--yes", "--at", base)
        deliver(changes, list(SIZES))
        deliver(changes + stream.read(), [])
        print("plain, compressed and chunked payloads: acted on once; conflicting and erased ones: not acted on")

        # A record is replaced after it has expired.
        events.update_item(Key={"event_id": "agntix:session.ended:plain"}, UpdateExpression="SET expires_at = :past",
                           ExpressionAttributeValues={":past": int(time.time()) - 10})
        stream.read()
        send("plain", "recorded")
        replaced = stream.read()
        deliver(replaced, ["plain"])
        deliver(replaced, [])
        print("a record that replaces an expired one: acted on once")

        # A chunk that cannot be read fails, and is retried from there.
        send("later", "recorded", SIZES["chunked"])
        changes = stream.read()
        nonce = events.get_item(Key={"event_id": "agntix:session.ended:later"})["Item"]["nonce"].value.hex()
        chunk = events.get_item(Key={"event_id": f"chunk:{nonce}/1"})["Item"]
        events.delete_item(Key={"event_id": chunk["event_id"]})
        deliver(changes, [], failed=1)
        events.put_item(Item=chunk)
        deliver(changes, ["later"])
        print("an event that fails: marked only after it was read, and acted on by the retry")


if __name__ == "__main__":
    main()
