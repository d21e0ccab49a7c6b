"""Holds what SAM makes of infra/template.yaml, with each set of parameters, to cfn-lint and to what it promises.

The untranslated template is not enough: cfn-lint finds most mistakes only in plain CloudFormation.
"""
import copy
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

INFRA = Path(__file__).parent.parent / "infra"
TEMPLATE = INFRA.joinpath("template.yaml").read_text(encoding="utf-8")
PERMISSIONS = yaml.safe_load(INFRA.joinpath("permissions.yaml").read_text(encoding="utf-8"))

# Every parameter that changes what is made, and not a value alone.
PARAMETERS = {
    "Environment": ["dev", "prod"],
    "Canary": ["false", "true"],
    "Tracing": ["PassThrough", "Active"],
    "SecretsArn": ["", "arn:aws:secretsmanager:eu-north-1:111122223333:secret:mine-AbCdEf"],
    "ReservedConcurrency": ["-1", "10"],
    "AlarmTopicArn": ["", "arn:aws:sns:eu-north-1:111122223333:alarms"],
}


class NoManagedPolicies:
    def load(self):
        return {}


def translated(template, parameters):
    """Plain CloudFormation. Code locations are replaced, since nothing is built."""
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return transform(template, dict(parameters), NoManagedPolicies())


def lint(stack):
    """What cfn-lint says; nothing if all is well. SAM uses up the parameter that decides about canaries."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(stack, file, default=str)
        file.flush()
        command = [str(Path(sys.executable).parent / "cfn-lint"), "--ignore-checks", "W2001", "--template", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def urls(stack):
    """Each function URL with what it leads to."""
    of_type = (item for item in stack["Resources"].items() if item[1]["Type"] == "AWS::Lambda::Url")
    return {name: json.dumps([url["Properties"]["TargetFunctionArn"], url["Properties"].get("Qualifier")]) for name, url in of_type}


def target(resource, function):
    """A statement's resource in a word of permissions.yaml; None for what is none of the stack's own."""
    match resource:
        case "*":
            return "*"
        case {"Fn::GetAtt": [name, "Arn"]}:
            return "its log group" if name == f"{function}Logs" else name
        case {"Fn::If": ["MakesSecret", {"Ref": "Secrets"}, {"Ref": "SecretsArn"}]}:
            return "Secrets"
    return None


def granted(stack, function):
    """What a function's role allows, as (action, target); and what else is wrong with the role."""
    properties = stack["Resources"][function]["Properties"]
    role = properties["Role"].get("Fn::GetAtt", [None])[0] if isinstance(properties["Role"], dict) else None
    if role != f"{function}Role":
        return set(), [f"{function} has another role than its own"]
    role = stack["Resources"][role]["Properties"]
    wrong = [f"{function}Role has {name}" for name in role if name not in ("AssumeRolePolicyDocument", "Policies")]
    trusted = [(statement.get("Principal"), statement.get("Action")) for statement in role["AssumeRolePolicyDocument"]["Statement"]]
    if trusted != [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")]:
        wrong.append(f"{function}Role can be taken by others than Lambda")
    allowed = set()
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            if "Fn::If" in statement:
                statement = statement["Fn::If"][1]
            if set(statement) != {"Effect", "Action", "Resource"} or statement["Effect"] != "Allow":
                wrong.append(f"{function}Role: a statement of another shape")
                continue
            actions, resources = (value if isinstance(value, list) else [value] for value in (statement["Action"], statement["Resource"]))
            for action, resource in itertools.product(actions, resources):
                word = target(resource, function)
                if word is None or "*" in action:
                    wrong.append(f"{function}Role: {action} on {json.dumps(resource)}")
                allowed.add((action, word))
    return allowed, wrong


def permissions(stack):
    """What differs from permissions.yaml."""
    functions = [name for name, resource in stack["Resources"].items() if resource["Type"] == "AWS::Lambda::Function"]
    wrong = [f"{name} is not in permissions.yaml" for name in functions if name not in PERMISSIONS]
    roles = [name for name, resource in stack["Resources"].items() if resource["Type"] in ("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")]
    wrong += [f"{name} is nobody's" for name in roles if name.removesuffix("Role") not in PERMISSIONS and name != "CodeDeployServiceRole"]
    for function, lines in PERMISSIONS.items():
        allowed, more = granted(stack, function)
        listed = {(action, resource) for action, resource, *_ in lines}
        wrong += more
        wrong += [f"{function} may {action} on {resource}, which is not listed" for action, resource in allowed - listed]
        wrong += [f"{function} may not {action} on {resource}, which is listed" for action, resource in listed - allowed]
    return wrong


def promises(stack):
    """What cfn-lint cannot see behind the alias, and what else the documents promise."""
    resources = {name: resource["Properties"] for name, resource in stack["Resources"].items()}
    retry, source = resources["RetryQueue"], resources["EventRetryRetryQueue"]
    table, functions = resources["EventTable"], [stack["Resources"][name] for name in PERMISSIONS]
    kept = {
        "the retry queue hides a message for six times as long as its consumer may take": retry["VisibilityTimeout"] >= 6 * resources["EventRetry"]["Timeout"],
        "a message is received five times": retry["RedrivePolicy"]["maxReceiveCount"] == 5,
        "both queues keep messages for 14 days": all(resources[name]["MessageRetentionPeriod"] == 14 * 86400 for name in ("RetryQueue", "DeadLetterQueue")),
        "one message of a batch can fail alone": source["FunctionResponseTypes"] == ["ReportBatchItemFailures"],
        "the table's stream holds new images": table["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"},
        "each function's lines are kept in its own log group": all(function["Properties"]["LoggingConfig"]["LogFormat"] == "JSON" for function in functions),
        "nothing has a name of its own": not any(f"{resource['Type'].rsplit('::', 1)[1]}Name" in resource["Properties"] for resource in stack["Resources"].values()),
    }
    return [f"not kept: {promise}" for promise, is_kept in kept.items() if not is_kept]


def statements(template, function):
    return template["Resources"][f"{function}Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]


def allow(action, resource):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


# What somebody may do to the template by mistake, and cfn-lint finds only in what SAM makes of it.
MISTAKES = {
    "a streaming mode that does not exist": lambda t: t["Resources"]["AgentChat"]["Properties"]["FunctionUrlConfig"].update(InvokeMode="STREAM"),
    "a runtime that does not exist": lambda t: t["Globals"]["Function"].update(Runtime="provided.al2024"),
    "a concurrency Lambda does not take": lambda t: t["Resources"]["EventRetry"]["Properties"]["Events"]["RetryQueue"]["Properties"].update(ScalingConfig={"MaximumConcurrency": 1}),
    "a visibility below the consumer's timeout": lambda t: t["Resources"]["RetryQueue"]["Properties"].update(VisibilityTimeout=5),
    "a misspelt response type": lambda t: t["Resources"]["EventRetry"]["Properties"]["Events"]["RetryQueue"]["Properties"].update(FunctionResponseTypes=["ReportBatchItemFailure"]),
    "SnapStart, which this runtime has not": lambda t: t["Globals"]["Function"].update(SnapStart={"ApplyOn": "PublishedVersions"}),
}

TAMPERING = {
    "every action on the table": lambda t: statements(t, "ServerMessage").append(allow("dynamodb:*", {"Fn::GetAtt": ["EventTable", "Arn"]})),
    "every queue": lambda t: statements(t, "ClientMessage").append(allow("sqs:SendMessage", "*")),
    "a foreign table": lambda t: statements(t, "EventRetry").append(allow("dynamodb:PutItem", "arn:aws:dynamodb:eu-north-1:444455556666:table/T")),
    "a right nobody listed": lambda t: statements(t, "AgentChat").append(allow("dynamodb:DeleteItem", {"Fn::GetAtt": ["EventTable", "Arn"]})),
    "a right that is missing": lambda t: statements(t, "SessionLifecycle").pop(),
    "a policy of AWS'": lambda t: t["Resources"]["AgentChatRole"]["Properties"].update(ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"]),
    "another's role": lambda t: t["Resources"]["ClientMessage"]["Properties"].update(Role={"Fn::GetAtt": ["AgentChatRole", "Arn"]}),
    "a principal besides": lambda t: t["Resources"]["AgentChatRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0].update(Principal={"AWS": "*"}),
}


def main():
    template, failed = yaml_parse(TEMPLATE), []
    sets = [dict(zip(PARAMETERS, values)) for values in itertools.product(*PARAMETERS.values())]
    expected = urls(translated(template, sets[0]))
    for parameters in sets:
        stack = translated(template, parameters)
        failed += [f"{parameters}: {line}" for line in permissions(stack) + promises(stack)]
        if urls(stack) != expected or len(expected) != 5 or not all("live" in url for url in expected.values()):
            failed.append(f"{parameters}: a function URL is another one, or leads elsewhere")
    print(f"{len(sets)} sets of parameters, translated: permissions, promises and the same {len(expected)} function URLs")
    # cfn-lint looks at both sides of every condition by itself; what SAM decides is another template.
    for parameters in ({}, {"Canary": "true"}, {"SourceIndex": "false"}):
        failed += [f"{parameters}: {line}" for line in [lint(translated(template, parameters))] if line]
    for what, make in MISTAKES.items():
        wrong = yaml_parse(TEMPLATE)
        make(wrong)
        stack = translated(wrong, {})
        print(f"  noticed: {what}" if promises(stack) or lint(stack) else failed.append(f"unnoticed: {what}") or f"  UNNOTICED: {what}")
    for what, tamper in TAMPERING.items():
        wrong = yaml_parse(TEMPLATE)
        tamper(wrong)
        print(f"  noticed: {what}" if permissions(translated(wrong, {})) else failed.append(f"unnoticed: {what}") or f"  UNNOTICED: {what}")
    sys.exit("\n".join(failed) or None)


main()
