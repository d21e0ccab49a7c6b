"""Deploys the output of `sam build` to ministack, tests the stack, and deletes it. Then runs the functions locally with
SAM and cargo-lambda."""
import contextlib
import http.server
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import boto3

STACK = "gatehouse-rehearsal"
WHSEC = "whsec_cmVoZWFyc2FsLXJlaGVhcnNhbC1yZWhlYXJzYWw="


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def ministack():
    """Runs the emulator on loopback and yields its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as state, open(os.path.join(state, "log"), "w+", encoding="utf-8") as log:
        settings = {
            # By default, the emulator listens on every interface.
            "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "MINISTACK_HOST": "localhost",
            "S3_DATA_DIR": f"{state}/s3", "STATE_DIR": f"{state}/state", "TMPDIR": state,
            "SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "LAMBDA_EXECUTOR": "local",
            # Functions inherit this variable, so they use the emulator.
            "AWS_ENDPOINT_URL": url,
        }
        process = subprocess.Popen(["ministack"], env=os.environ | settings, stdout=log, stderr=log)
        try:
            wait(lambda: is_healthy(url), 30, "ministack does not respond")
            yield url
        except BaseException:
            log.seek(0)
            print(log.read()[-6000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(10)


def is_healthy(url):
    try:
        return urllib.request.urlopen(f"{url}/_ministack/health", timeout=2).status == 200
    except OSError:
        return False


def status_of(request):
    try:
        return urllib.request.urlopen(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


def wait(condition, seconds, description):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"timeout after {seconds} s: {description}")
        time.sleep(0.2)


def run(*command, expect=0):
    """Runs a command and returns its output. Fails if the exit code is not `expect`."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    text = result.stdout + result.stderr
    if result.returncode != expect:
        raise SystemExit(f"{' '.join(command)}: exit code {result.returncode}, expected {expect}\n{text}")
    return text


def deploy(*parameters):
    return run("sam", "deploy", "--stack-name", STACK, "--resolve-s3", "--capabilities", "CAPABILITY_IAM",
               "--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", "Architecture=x86_64", *parameters)


def step(description, began):
    print(f"  {time.monotonic() - began:5.1f} s  {description}", flush=True)


# Function, event, vendor that signs it, and expected text in the output.
INVOCATIONS = [
    ("ConversationWebhooks", "events/ada.json", "ada", '"gatehouse-outcome": "recorded"'),
    ("SessionLifecycle", "events/agntix.json", "agntix", '"gatehouse-outcome": "recorded"'),
    ("ClientMessage", "events/vapi-client.json", None, '"gatehouse-outcome": "recorded"'),
    ("ServerMessage", "events/vapi-server.json", None, '"gatehouse-outcome": "recorded"'),
    ("EventRetry", "events/sqs-batch.json", None, '{"batchItemFailures": [{"itemIdentifier": "no-envelope"}]}'),
]
IMAGE = "public.ecr.aws/lambda/provided:al2023-x86_64"


def sam_local(gatehouse, began):
    """Runs each function in a container, with the embedded DynamoDB and SQS of `gatehouse dev`."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        print("  SKIPPED, no container engine: `sam local invoke` of each function with `gatehouse dev`", flush=True)
        return
    inspect = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False)
    options = ["--skip-pull-image"] if inspect.returncode == 0 else []
    dev = subprocess.Popen([gatehouse, "dev", "--host", "0.0.0.0", "--port", "0", "--json"],
                           env=os.environ | {"GATEHOUSE_SECRETS": "{}"},
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        ready = json.loads(dev.stdout.readline())
        with tempfile.NamedTemporaryFile("w", suffix=".json") as env:
            text = open("env.json", encoding="utf-8").read()
            for port, engine in (("9001", "dynamodb"), ("9002", "sqs")):
                text = text.replace(f":{port}", f":{ready[engine].rsplit(':', 1)[1]}")
            env.write(text)
            env.flush()
            for function, event, vendor, expected in INVOCATIONS:
                if vendor:
                    signed = run(gatehouse, "sign", vendor, event, "--as", "lambda-event")
                else:
                    signed = open(event, encoding="utf-8").read()
                with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                    file.write(signed)
                    file.flush()
                    output = run("sam", "local", "invoke", function, "-e", file.name, "--env-vars", env.name, *options)
                if expected not in output:
                    raise SystemExit(f"sam local invoke {function}: no {expected} in the output: {output}")
        local = boto3.client("dynamodb", endpoint_url=ready["dynamodb"].replace("0.0.0.0", "127.0.0.1"))
        count = local.scan(TableName=ready["table"])["Count"]
        if count != 5:
            raise SystemExit(f"the containers recorded {count} events, expected 5")
    finally:
        dev.terminate()
        dev.wait(10)
    step(f"`sam local invoke`: {len(INVOCATIONS)} functions ran and recorded 5 events", began)


EVENTS = [b'data: {"type":"text","content":"%d"}\n\n' % n for n in range(5)] + [b"data: [DONE]\n\n"]


class Agent(http.server.BaseHTTPRequestHandler):
    """Sends each event after the client has received the previous one. If any part buffered events, it would block."""

    received = queue.Queue()

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in EVENTS:
            self.wfile.write(event)
            if event is not EVENTS[-1]:
                self.received.get(timeout=60)

    def log_message(self, *_):
        pass


def cargo_lambda_watch(gatehouse, began):
    """Runs agent-chat with `cargo lambda watch`, which streams responses as Lambda does."""
    agent = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=agent.serve_forever, daemon=True).start()
    chat = {"clients": [{"id": "rehearsal", "token": "a-token-of-the-rehearsal", "agents": ["*"]}],
            "agents": {"a": {"url": f"http://127.0.0.1:{agent.server_port}/send-message", "dialect": "ag-kit"}}}
    dev = subprocess.Popen([gatehouse, "dev", "--port", "0", "--json"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    ready, port = json.loads(dev.stdout.readline()), free_port()
    settings = {"GATEHOUSE_SECRETS": json.dumps({"agent_chat": chat}), "TABLE_NAME": ready["table"],
                "AWS_ENDPOINT_URL_DYNAMODB": ready["dynamodb"], "AWS_ENDPOINT_URL_SQS": ready["sqs"],
                "RETRY_QUEUE_URL": ready["retry_queue"]}
    with tempfile.TemporaryFile("w+") as log:
        command = ["cargo", "lambda", "watch", "--ignore-changes", "--invoke-address", "127.0.0.1",
                   "--invoke-port", str(port)]
        watch = subprocess.Popen(command, cwd="functions/agent-chat", env=os.environ | settings, stdout=log, stderr=log,
                                 start_new_session=True)
        try:
            wait(lambda: is_open(port), 60, "`cargo lambda watch` does not listen")
            chat_url = f"http://127.0.0.1:{port}/lambda-url/agent-chat/v1/aibot/bots/a/send-message"
            request = urllib.request.Request(chat_url, method="POST",
                                             data=b'{"conversationId":"c","messages":[{"role":"user","content":"hi"}]}')
            request.add_header("content-type", "application/json")
            request.add_header("authorization", "Bearer a-token-of-the-rehearsal")
            # The first request starts the build of the function.
            with urllib.request.urlopen(request, timeout=600) as response:
                for event in EVENTS:
                    received = response.readline() + response.readline()
                    if received != event:
                        raise SystemExit(f"agent-chat sent {received}, expected {event}")
                    Agent.received.put(True)
        except BaseException:
            log.seek(0)
            print(log.read()[-4000:], file=sys.stderr)
            raise
        finally:
            os.killpg(watch.pid, signal.SIGTERM)
            watch.wait(30)
            dev.terminate()
            dev.wait(10)
            agent.shutdown()
    step(f"`cargo lambda watch`: agent-chat streamed {len(EVENTS)} events without buffering", began)


def deliveries(gatehouse, lines, url):
    """Turns deliveries on for the deployed stack, and sends an event to a queue."""
    refused = run(gatehouse, "destinations", "list", "--stack", STACK, expect=1)
    if "Deliveries=true" not in refused:
        raise SystemExit(f"gatehouse destinations list of a stack without deliveries: {refused}")
    sqs = boto3.client("sqs")
    queue = sqs.create_queue(QueueName="gatehouse-rehearsal-destination")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    deploy("Deliveries=true", f"DestinationQueueArns={arn}")
    run(gatehouse, "destinations", "set", "audit", "--sqs", queue, "--stack", STACK)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write('{"type":"v1.conversation.ended","timestamp":"2026-11-21T17:00:00Z","data":{"conversation_id":"c"}}')
        file.flush()
        sent = run(gatehouse, "send", "ada", file.name, "--to", url, "--secret", WHSEC)
    if not sent.startswith("200 recorded"):
        raise SystemExit(f"gatehouse send: {sent}")
    received = []

    def receive():
        messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1, MessageAttributeNames=["All"])
        received.extend(messages.get("Messages", []))
        return received

    wait(receive, 90, "no delivery reaches the queue")
    data = json.loads(received[0]["Body"])["data"]
    if received[0]["MessageAttributes"]["gatehouse-event-id"]["StringValue"] != data["event_id"]:
        raise SystemExit(f"the queue got {received[0]}")
    is_delivered = lambda: [d["state"] for d in lines("deliveries", "show", data["event_id"])] == ["delivered"]
    wait(is_delivered, 30, "gatehouse deliveries show does not show the delivery")
    sqs.delete_queue(QueueUrl=queue)


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def main():
    gatehouse, began = os.environ["GATEHOUSE"], time.monotonic()
    with ministack() as url:
        os.environ["AWS_ENDPOINT_URL"] = url
        step("ministack runs", began)
        deploy()
        stack = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        step(f"deployed: {len(outputs)} outputs", began)

        for vendor in ("ada", "agntix"):
            run(gatehouse, "secrets", "set", vendor, WHSEC, "--stack", STACK)
        run(gatehouse, "secrets", "set", "vapi", "--new", "--stack", STACK)
        run(gatehouse, "secrets", "set", "client:rehearsal", "--new", "--agents", "*", "--stack", STACK)
        # The outputs contain host names of AWS. The emulator serves the functions below its own URL.
        function_id = lambda output: outputs[output].split('//')[1].split('.')[0]
        function_url = lambda output, path="": f"{url}/_aws/lambda-url/{function_id(output)}/{path}"
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=outputs["SecretsArn"])
        document = json.loads(secret["SecretString"])
        token = document["vapi"]["schemes"][0]["values"][0]
        for vendor, output, path, secret in [
            ("ada", "ConversationWebhooksUrl", "", WHSEC),
            ("agntix", "SessionLifecycleUrl", "", WHSEC),
            ("vapi-client", "ClientMessageUrl", "client", token),
            ("vapi-server", "ServerMessageUrl", "server", token),
        ]:
            result = run(gatehouse, "send", vendor, "--to", function_url(output, path), "--secret", secret)
            if not result.startswith("200 recorded"):
                raise SystemExit(f"gatehouse send {vendor}: {result}")
        chat_url = function_url("AgentChatUrl", "v1/aibot/bots/unknown/send-message")
        chat = urllib.request.Request(chat_url, data=b"{}", method="POST")
        chat.add_header("content-type", "application/json")
        chat.add_header("authorization", f"Bearer {document['agent_chat']['clients'][0]['token']}")
        status = status_of(chat)
        if status != 404:
            raise SystemExit(f"agent-chat: {status}, expected 404 for an unknown agent")
        step("the function URLs accept authenticated requests", began)

        function_urls = [output for output in outputs if output.endswith("Url") and not output.endswith("QueueUrl")]
        for output in function_urls:
            request = urllib.request.Request(function_url(output), data=b"{}", method="POST")
            request.add_header("content-type", "application/json")
            # 404: the function has another path. 503: its vendor has no secret.
            if status_of(request) not in (401, 404, 503):
                raise SystemExit(f"{output} does not refuse an unsigned request: {status_of(request)}")
        step(f"all {len(function_urls)} function URLs refuse unsigned requests", began)

        table = boto3.client("dynamodb").scan(TableName=outputs["EventTableName"])
        types = sorted(item["event_type"]["S"] for item in table["Items"])
        if len(types) != 4:
            raise SystemExit(f"the table has events of the types {types}, expected four")
        lines = lambda *command, expect=0: [
            json.loads(line)
            for line in run(gatehouse, *command, "--stack", STACK, "--json", expect=expect).splitlines()
            if line.startswith("{")
        ]
        listed = lines("events", "list")
        if sorted(event["type"] for event in listed) != types:
            raise SystemExit(f"gatehouse events list: {listed}")
        shown = lines("events", "show", listed[0]["event_id"])
        if shown[0]["state"] != "recorded":
            raise SystemExit(f"gatehouse events show: {shown}")
        step("the table has the four events, and `gatehouse events` lists and shows them", began)

        sqs = boto3.client("sqs")
        sqs.send_message(QueueUrl=outputs["RetryQueueUrl"], MessageBody="no envelope")
        dead = outputs["DeadLetterQueueUrl"]
        attributes = lambda: sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"]
        has_one = lambda: attributes()["ApproximateNumberOfMessages"] == "1"
        wait(has_one, 90, "the poison message is not on the dead-letter queue")
        letters = lines("dead-letters", "list")
        if [letter["reason"] for letter in letters] != ["unreadable"]:
            raise SystemExit(f"gatehouse dead-letters list: {letters}")
        doctor = {finding["check"]: finding for finding in lines("doctor", expect=1)}
        # The emulator does not report indexes and TTL, so those checks are left out.
        for check in ("table", "redrive policy", "max receives", "secrets of ada", "secrets of vapi"):
            if doctor[check]["state"] != "ok":
                raise SystemExit(f"gatehouse doctor: {doctor}")
        if doctor["dead letters"]["state"] != "wrong":
            raise SystemExit(f"gatehouse doctor: {doctor}")
        step("a poison message is dead-lettered; `gatehouse dead-letters` and `gatehouse doctor` report it", began)

        if "No changes to deploy" not in deploy():
            raise SystemExit("a second deployment changes the stack")
        step("a second deployment changes nothing", began)

        deploy("Skip=ada:v1.conversation.message", "EventTtlDays=45")
        result = run(gatehouse, "send", "ada", "--to", function_url("ConversationWebhooksUrl"), "--secret", WHSEC)
        if not result.startswith("200 skipped"):
            raise SystemExit(f"after a deployment with the parameter Skip: {result}")
        step("a deployment with other parameters changes what the function URL does", began)
        deliveries(gatehouse, lines, function_url("ConversationWebhooksUrl"))
        step("a deployment with Deliveries=true delivers an event to a queue, and the CLI shows it", began)
        run("sam", "delete", "--stack-name", STACK, "--no-prompts")
        remaining = [
            *boto3.client("dynamodb").list_tables()["TableNames"],
            *sqs.list_queues().get("QueueUrls", []),
            *(function["FunctionName"] for function in boto3.client("lambda").list_functions()["Functions"]),
        ]
        if remaining:
            raise SystemExit(f"`sam delete` did not delete {remaining}")
        step("`sam delete` deletes everything", began)
    del os.environ["AWS_ENDPOINT_URL"]
    cargo_lambda_watch(gatehouse, began)
    sam_local(gatehouse, began)


main()
