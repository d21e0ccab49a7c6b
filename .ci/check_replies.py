"""Validates the rules files against their JSON Schema with an independent validator, and checks that the schema rejects
wrong rules."""
import copy
import json

from jsonschema import Draft7Validator


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


schema = read("functions/replies.schema.json")
Draft7Validator.check_schema(schema)
validator = Draft7Validator(schema)
development = read("functions/replies.dev.json")
files = {"functions/replies.json": read("functions/replies.json"), "functions/replies.dev.json": development}
for path, rules in files.items():
    for error in validator.iter_errors(rules):
        raise SystemExit(f"{path}: {error.json_path}: {error.message}")

DESTINATION = {"type": "number", "number": "+1"}
WRONG = [
    ("client", {"when": {"type": "hang"}}),
    ("client", {"when": {"type": "hang", "tool": "x"}, "act": {"type": "end-call"}}),
    ("client", {"when": {"type": "hang"}, "reply": {"message": {"type": "hangup"}}}),
    ("client", {"when": {"type": "hang"}, "reply": {"message": {"type": "add-message", "message": {"role": "user"}}}}),
    ("server", {"when": {"type": "status-update"}, "reply": {}}),
    ("server", {"when": {"type": "assistant-request"}, "reply": {"assistantID": "x"}}),
    ("server", {"when": {"type": "transfer-destination-request"}, "reply": {"destination": DESTINATION}}),
    ("server", {"when": {"type": "tool-calls"}, "reply": {"results": []}}),
    ("server", {"when": {"type": "campaign.predial"}, "reply": {"eligible": "yes"}}),
    ("server", {"when": {"type": "hang", "where": {"/a": {"is": 1}}}, "act": {"type": "end-call"}}),
    ("server", {"when": {"type": "tool-calls"}, "ask": "or ders"}),
    ("server", {"when": {"type": "tool-calls"}, "ask": "orders", "reply": {"result": "x"}}),
    ("server", {"when": {"type": "tool-calls"}, "ask": "orders", "within": 8}),
    ("server", {"when": {"type": "tool-calls"}, "ask": "orders", "else": {"assistantId": "x"}}),
    ("server", {"when": {"type": "*"}, "ask": "orders", "else": {"assistantId": "x"}}),
    ("server", {"when": {"type": "tool-calls"}, "reply": {"result": "x"}, "within": "8s"}),
]
for channel, rule in WRONG:
    rules = copy.deepcopy(development)
    rules[channel].append(rule)
    if validator.is_valid(rules):
        raise SystemExit(f"functions/replies.schema.json accepts a wrong {channel} rule: {json.dumps(rule)}")
print("the rules files match their schema, and the schema rejects wrong rules")
