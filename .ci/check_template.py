"""Translates infra/template.yaml to CloudFormation with each set of parameters, and checks the result.

Checks permissions, invariants, function URLs and versions, and runs cfn-lint. cfn-lint finds most mistakes only in plain
CloudFormation.
"""
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from samcli.yamlhelper import yaml_parse

from stack import INFRA, Stack, translate

TEMPLATE = INFRA.joinpath("template.yaml").read_text(encoding="utf-8")
LOGICAL_IDS = yaml.safe_load(INFRA.joinpath("logical-ids.yaml").read_text(encoding="utf-8"))
PERMISSIONS = yaml.safe_load(INFRA.joinpath("permissions.yaml").read_text(encoding="utf-8"))

SECRET = "arn:aws:secretsmanager:eu-north-1:111122223333:secret:" + "x" * 33 + "-AbCdEf"
FUNCTION = "arn:aws:lambda:eu-north-1:111122223333:function:orders"
QUEUE = "arn:aws:sqs:eu-north-1:111122223333:audit"
KEY = "arn:aws:kms:eu-north-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef"

# The parameters that change which resources are created, or how they are connected.
PARAMETERS = {
    "Environment": ["dev", "prod"],
    "Canary": ["false", "true"],
    "Tracing": ["PassThrough", "Active"],
    "SecretsArn": ["", "arn:aws:secretsmanager:eu-north-1:111122223333:secret:mine-AbCdEf"],
    "ReservedConcurrency": ["-1", "10"],
    "AlarmTopicArn": ["", "arn:aws:sns:eu-north-1:111122223333:alarms"],
}


# Two values of each parameter, the second of which is as long as possible.
VALUES = {
    "Environment": ["dev", "prod"],
    "Architecture": ["arm64", "x86_64"],
    "SecretsArn": ["", SECRET],
    "EventTtlDays": ["90", "36500"],
    "SourceIndex": ["true", "false"],
    "PreviousSecretsArn": ["", SECRET],
    "Redact": ["", "x" * 46],
    "Skip": ["", "vapi:" + "x" * 41],
    "WebhookBodyMaxBytes": ["1024", "6291456"],
    "ChatBodyMaxBytes": ["1024", "6291456"],
    "ReservedConcurrency": ["-1", "10"],
    "LogLevel": ["info", "error"],
    "LogRetentionDays": ["30", "3653"],
    "Tracing": ["Active", "PassThrough"],
    "Canary": ["false", "true"],
    "AlarmTopicArn": ["", "arn:aws:sns:eu-north-1:111122223333:alarms"],
    "ChatReservedConcurrency": ["-1", "20"],
    "SystemLogLevel": ["WARN", "INFO"],
    "SecretsKeyArn": ["", KEY],
    "TableKeyArn": ["", KEY],
    "SubnetIds": ["", "subnet-0123456789abcdef0,subnet-0123456789abcdef1"],
    "SecurityGroupIds": ["", "sg-0123456789abcdef0,sg-0123456789abcdef1"],
    "PrivateFunctions": ["AgentChat", ",".join(PERMISSIONS)],
    "Alarms": ["auto", "all"],
    "CorsAllowOrigins": ["*", "https://app.example.com"],
    "ServiceFunctionArns": ["", f"{FUNCTION},{FUNCTION}:live"],
    "Deliveries": ["false", "true"],
    "DestinationQueueArns": ["", f"{QUEUE},{QUEUE}.fifo"],
    "DestinationFunctionArns": ["", f"{FUNCTION},{FUNCTION}:live"],
}

# The properties of a function that its versions do not have.
UNVERSIONED = ("Code", "ReservedConcurrentExecutions", "Tags")


def lint(stack):
    """Returns the findings of cfn-lint. Ignores W2001: SAM evaluates the parameter Canary, so it looks unused."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(stack, file, default=str)
        file.flush()
        command = [str(Path(sys.executable).parent / "cfn-lint"), "--ignore-checks", "W2001", "--template", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def urls(stack):
    """Returns the target of each function URL."""
    urls = {name: item["Properties"] for name, item in stack["Resources"].items() if item["Type"] == "AWS::Lambda::Url"}
    return {name: json.dumps([url["TargetFunctionArn"], url.get("Qualifier")]) for name, url in urls.items()}


def target(resource, function):
    """Returns a statement's resource as permissions.yaml names it; None if it does not belong to the stack."""
    match resource:
        case "*":
            return "*"
        case {"Fn::GetAtt": [name, "Arn"]}:
            return "its log group" if name == f"{function}Logs" else name
        case {"Fn::If": ["MakesSecret", {"Ref": "Secrets"}, {"Ref": "SecretsArn"}]}:
            return "Secrets"
        case {"Fn::GetAtt": ["EventTable", "StreamArn"]}:
            return "EventTable.StreamArn"
        case {"Fn::Sub": "${DeliveryTable.Arn}/index/by-due"}:
            return "DeliveryTable/index/by-due"
        case {"Ref": "PreviousSecretsArn" | "SecretsKeyArn" | "TableKeyArn" as parameter}:
            return parameter
        case {"Fn::Split": [",", {"Ref": "ServiceFunctionArns" | "DestinationQueueArns" | "DestinationFunctionArns" as arns}]}:
            return arns
    return None


def granted(stack, function):
    """Returns the permissions of a function's role, as (action, target), and other problems of the role."""
    properties = stack["Resources"][function]["Properties"]
    role = properties["Role"].get("Fn::GetAtt", [None])[0] if isinstance(properties["Role"], dict) else None
    if role != f"{function}Role":
        return set(), [f"{function} does not use the role {function}Role"]
    role = stack["Resources"][role]["Properties"]
    expected = ("AssumeRolePolicyDocument", "Policies")
    problems = [f"{function}Role has the property {name}" for name in role if name not in expected]
    trusted = [
        (statement.get("Principal"), statement.get("Action"))
        for statement in role["AssumeRolePolicyDocument"]["Statement"]
    ]
    if trusted != [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")]:
        problems.append(f"{function}Role can be assumed by others than Lambda")
    allowed = set()
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            condition = None
            if "Fn::If" in statement:
                condition, statement, _ = statement["Fn::If"]
            if set(statement) != {"Effect", "Action", "Resource"} or statement["Effect"] != "Allow":
                problems.append(f"{function}Role has a statement of an unexpected form")
                continue
            actions, resources = (
                value if isinstance(value, list) else [value] for value in (statement["Action"], statement["Resource"])
            )
            for action, resource in itertools.product(actions, resources):
                name = target(resource, function)
                if name is None or "*" in action:
                    problems.append(f"{function}Role allows {action} on {json.dumps(resource)}")
                if condition != condition_of(action, name, function):
                    problems.append(f"{function}Role allows {action} on {name} if {condition}")
                allowed.add((action, name))
    return allowed, problems


def condition_of(action, name, function):
    """Returns the condition under which a role has a permission; None if it always has it."""
    by_target = {
        "TableKeyArn": "HasTableKey",
        "SecretsKeyArn": "HasSecretsKey",
        "PreviousSecretsArn": "HasPreviousSecret",
        "ServiceFunctionArns": "HasServiceFunctions",
        "DestinationQueueArns": "HasDestinationQueues",
        "DestinationFunctionArns": "HasDestinationFunctions",
    }
    by_service = {"xray": "IsTraced", "ec2": f"{function}IsPrivate"}
    return by_target.get(name) or by_service.get(action.split(":")[0])


def networks(template):
    """Returns the functions that are in a network although they are not in PrivateFunctions, and the reverse."""
    problems = []
    network = {name: VALUES[name][1] for name in ("SubnetIds", "SecurityGroupIds")}
    for function in PERMISSIONS:
        parameters = network | {"PrivateFunctions": function, "Deliveries": "true"}
        functions = Stack(translate(template, parameters), parameters).of_type("AWS::Lambda::Function")
        private = [name for name, properties in functions.items() if "VpcConfig" in properties]
        if private != [function]:
            problems.append(f"PrivateFunctions={function}: the functions in the network are {private}")
    return problems


def permissions(stack):
    """Returns the differences from permissions.yaml."""
    functions = [name for name, resource in stack["Resources"].items() if resource["Type"] == "AWS::Lambda::Function"]
    problems = [f"{name} is not in permissions.yaml" for name in functions if name not in PERMISSIONS]
    types = ("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
    roles = [name for name, resource in stack["Resources"].items() if resource["Type"] in types]
    known = {f"{function}Role" for function in PERMISSIONS} | {"CodeDeployServiceRole"}
    problems += [f"{name} belongs to no function" for name in roles if name not in known]
    for function, lines in PERMISSIONS.items():
        allowed, more = granted(stack, function)
        listed = {(action, resource) for action, resource, *_ in lines}
        problems += more
        problems += [f"{function}Role allows {action} on {name}: not listed" for action, name in allowed - listed]
        problems += [f"{function}Role does not allow {action} on {name}: listed" for action, name in listed - allowed]
    return problems


def invariants(stack):
    """Returns the invariants that do not hold. cfn-lint cannot check them, because the alias hides some values."""
    resources = {name: resource["Properties"] for name, resource in stack["Resources"].items()}
    retry, source, table = resources["RetryQueue"], resources["EventRetryRetryQueue"], resources["EventTable"]
    retention = [resources[name]["MessageRetentionPeriod"] for name in ("RetryQueue", "DeadLetterQueue")]
    log_formats = [resources[name]["LoggingConfig"]["LogFormat"] for name in PERMISSIONS]
    named = [
        name
        for name, resource in stack["Resources"].items()
        if f"{resource['Type'].rsplit('::', 1)[1]}Name" in resource["Properties"]
    ]
    holds = {
        "the retry queue's visibility timeout is six times event-retry's timeout":
            retry["VisibilityTimeout"] >= 6 * resources["EventRetry"]["Timeout"],
        "the visibility timeouts of the delivery queues are six times deliver's timeout":
            min(resources[name]["VisibilityTimeout"] for name in ("DeliveryQueue", "SlowDeliveryQueue"))
            >= 6 * resources["Deliver"]["Timeout"],
        "the outbox reads the stream from its beginning":
            resources["OutboxEventStream"]["StartingPosition"] == "TRIM_HORIZON",
        "the outbox gets only records":
            [json.loads(filter["Pattern"]) for filter in resources["OutboxEventStream"]["FilterCriteria"]["Filters"]]
            == [{"dynamodb": {"NewImage": {"source": {"S": [{"exists": True}]}}}}],
        "a change of the stream can fail alone":
            resources["OutboxEventStream"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"],
        "a message is received five times": retry["RedrivePolicy"]["maxReceiveCount"] == 5,
        "both queues retain messages for 14 days": retention == [14 * 86400] * 2,
        "the messages of a batch can fail independently":
            source["FunctionResponseTypes"] == ["ReportBatchItemFailures"],
        "the table's stream has new images": table["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"},
        "each function logs JSON": all(log_format == "JSON" for log_format in log_formats),
        "no resource has a fixed name": not named,
        "each function has alarms on errors and throttles":
            all({f"{name}ErrorsAlarm", f"{name}ThrottlesAlarm"} <= set(resources) for name in PERMISSIONS),
    }
    return [f"does not hold: {invariant}" for invariant, is_true in holds.items() if not is_true]


def versions(template):
    """Returns the functions that a changed parameter does not reach, and those that it publishes without a change.

    Lambda runs the version that the alias names. CloudFormation publishes a version if the logical id or the description
    of the version changes, and fails if the function has not changed since the previous version."""
    problems = [f"VALUES does not list the parameter {name}" for name in set(template["Parameters"]) ^ set(VALUES)]
    longest = {name: values[1] for name, values in VALUES.items()}
    defaults = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}
    for others, (name, values) in itertools.product((defaults, longest), VALUES.items()):
        before, after = (published(template, others | {name: value}) for value in values)
        for function, (settings, version) in before.items():
            new_settings, new_version = after[function]
            if settings != new_settings and version == new_version:
                problems.append(f"a change of {name} does not reach {function}: add it to VersionDescription")
            if settings == new_settings and version != new_version:
                problems.append(f"a change of {name} publishes {function} unchanged: remove it from VersionDescription")
    for function, (_, (_, description)) in published(template, longest).items():
        if len(description or "") > 256:
            problems.append(f"the VersionDescription of {function} can have {len(description)} characters, allowed are 256")
    return problems


def invalid_values(template):
    """Returns the values in VALUES that CloudFormation would reject. All functions can be in PrivateFunctions."""
    problems = []
    for name, values in VALUES.items():
        parameter = template["Parameters"].get(name, {})
        for value in values:
            is_valid = (
                re.fullmatch(parameter.get("AllowedPattern", ".*"), value)
                and len(value) <= parameter.get("MaxLength", len(value))
                and value in map(str, parameter.get("AllowedValues", [value]))
            )
            if not is_valid:
                problems.append(f"CloudFormation would reject {name}={value}")
    return problems


def published(template, parameters):
    """Returns the versioned settings of each function, and the logical id and description of its version."""
    stack = Stack(translate(template, parameters), parameters)
    versions = {
        properties["FunctionName"].strip("<>"): (name, properties.get("Description"))
        for name, properties in stack.of_type("AWS::Lambda::Version").items()
    }
    return {
        name: ({key: value for key, value in properties.items() if key not in UNVERSIONED}, versions[name])
        for name, properties in stack.of_type("AWS::Lambda::Function").items()
    }


def rollback_alarms(template):
    """Returns the alarms that roll a deployment back."""
    return template["Globals"]["Function"]["DeploymentPreference"]["Alarms"]["Fn::If"][1]


def omissions(template):
    """Returns what a new function lacks. Translation hides it."""
    functions = {
        name: item["Properties"]
        for name, item in template["Resources"].items()
        if item["Type"] == "AWS::Serverless::Function"
    }
    rollback = rollback_alarms(template)
    problems = [
        f"{name}ErrorsAlarm is not in DeploymentPreference"
        for name in functions
        # The alarms of a function that may not exist cannot roll back.
        if "Condition" not in template["Resources"][name] and {"Ref": f"{name}ErrorsAlarm"} not in rollback
    ]
    problems += [
        f"{name}Url is not an output"
        for name, properties in functions.items()
        if "FunctionUrlConfig" in properties and f"{name}Url" not in template["Outputs"]
    ]
    problems += [f"{name} has no VpcConfig" for name, properties in functions.items() if "VpcConfig" not in properties]
    return problems


def replaced(stack):
    """Returns the resources in logical-ids.yaml that the stack has no longer, or with another type."""
    types = {name: resource["Type"] for name, resource in stack["Resources"].items()}
    return [
        f"{name} is {types.get(name, 'missing')}, not {expected}"
        for name, expected in LOGICAL_IDS.items()
        if types.get(name) != expected
    ]


def statements(template, function):
    return template["Resources"][f"{function}Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]


def allow(action, resource):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def properties_of(template, name):
    return template["Resources"][name]["Properties"]


def describe(template, function, change):
    properties = properties_of(template, function)
    sub = properties["VersionDescription"]["Fn::Sub"]
    sub[0] = change(sub[0])


def event_source(template):
    return properties_of(template, "EventRetry")["Events"]["RetryQueue"]["Properties"]


def trust(template, name):
    return properties_of(template, name)["AssumeRolePolicyDocument"]["Statement"][0]


TABLE = {"Fn::GetAtt": ["EventTable", "Arn"]}

# Mistakes that can be detected only in the translated template.
MISTAKES = {
    "an unknown invoke mode": lambda t: properties_of(t, "AgentChat")["FunctionUrlConfig"].update(InvokeMode="STREAM"),
    "an unknown runtime": lambda t: t["Globals"]["Function"].update(Runtime="provided.al2024"),
    "a concurrency below the minimum": lambda t: event_source(t).update(ScalingConfig={"MaximumConcurrency": 1}),
    "a visibility timeout below the function's timeout":
        lambda t: properties_of(t, "RetryQueue").update(VisibilityTimeout=5),
    "a misspelt response type": lambda t: event_source(t).update(FunctionResponseTypes=["ReportBatchItemFailure"]),
    "SnapStart, which this runtime does not support":
        lambda t: t["Globals"]["Function"].update(SnapStart={"ApplyOn": "PublishedVersions"}),
    "a function without an alarm": lambda t: t["Resources"].pop("AgentChatThrottlesAlarm"),
}

# Changes after which CloudFormation would create another resource and leave the data or the address behind.
REPLACEMENTS = {
    "a renamed queue":
        lambda t: t["Resources"].update(DeadLetters=t["Resources"].pop("DeadLetterQueue")),
    "a renamed function": lambda t: t["Resources"].update(Chat=t["Resources"].pop("AgentChat")),
    "a table of another type": lambda t: t["Resources"]["EventTable"].update(Type="AWS::DynamoDB::GlobalTable"),
}

# Omissions that can be detected only in the template itself.
OMISSIONS = {
    "a URL without an output": lambda t: t["Outputs"].pop("ServerMessageUrl"),
    "an alarm that does not roll back":
        lambda t: rollback_alarms(t).remove({"Ref": "EventRetryErrorsAlarm"}),
}

# Changes that keep a parameter from the running functions, or publish a function that has not changed.
STALE_VERSIONS = {
    "a parameter that VersionDescription lacks":
        lambda t: describe(t, "EventRetry", lambda text: text.replace("${EventTtlDays}|", "")),
    "a parameter that does not change the function":
        lambda t: describe(t, "EventRetry", lambda text: text + "${ReservedConcurrency}"),
    "a VersionDescription that is too long": lambda t: describe(t, "EventRetry", lambda text: text + "x" * 250),
    "a parameter without values": lambda t: t["Parameters"].update(New={"Type": "String", "Default": ""}),
}

# Changes of roles that the comparison with permissions.yaml must detect.
TAMPERING = {
    "every action on the table": lambda t: statements(t, "ServerMessage").append(allow("dynamodb:*", TABLE)),
    "every queue": lambda t: statements(t, "ClientMessage").append(allow("sqs:SendMessage", "*")),
    "a table of another stack": lambda t: statements(t, "EventRetry").append(
        allow("dynamodb:PutItem", "arn:aws:dynamodb:eu-north-1:444455556666:table/T")
    ),
    "an unlisted permission": lambda t: statements(t, "AgentChat").append(allow("dynamodb:DeleteItem", TABLE)),
    "a missing permission": lambda t: statements(t, "SessionLifecycle").pop(),
    "a managed policy": lambda t: properties_of(t, "AgentChatRole").update(
        ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"]
    ),
    "the role of another function":
        lambda t: properties_of(t, "ClientMessage").update(Role={"Fn::GetAtt": ["AgentChatRole", "Arn"]}),
    "a permission under another condition":
        lambda t: statements(t, "EventRetry")[1]["Fn::If"].__setitem__(0, "IsTraced"),
    "another principal": lambda t: trust(t, "AgentChatRole").update(Principal={"AWS": "*"}),
}


def detects(change, check):
    """Whether a check of the translated template fails after a change of the template."""
    return detects_before_translation(change, lambda template: check(translate(template, {})))


def detects_before_translation(change, check):
    """Whether a check of the template fails after a change of it."""
    template = yaml_parse(TEMPLATE)
    change(template)
    return bool(check(template))


def main():
    template = yaml_parse(TEMPLATE)
    failed = omissions(template) + invalid_values(template) + versions(template) + networks(template)
    parameter_sets = [dict(zip(PARAMETERS, values)) for values in itertools.product(*PARAMETERS.values())]
    expected = urls(translate(template, parameter_sets[0]))
    with_url = [name for name, item in template["Resources"].items() if "FunctionUrlConfig" in item.get("Properties", {})]
    if sorted(expected) != sorted(f"{name}Url" for name in with_url):
        failed.append(f"the function URLs {sorted(expected)} do not belong to {sorted(with_url)}")
    for parameters in parameter_sets:
        stack = translate(template, parameters)
        failed += [f"{parameters}: {line}" for line in permissions(stack) + invariants(stack) + replaced(stack)]
        if urls(stack) != expected or not all("live" in url for url in expected.values()):
            failed.append(f"{parameters}: the function URLs or their targets differ: {urls(stack)}")
    count = len(parameter_sets)
    print(f"checked {count} sets of parameters: permissions, invariants and {len(expected)} function URLs")
    print(f"changed each of {len(VALUES)} parameters: the functions that use it get a new version, and no others")
    # cfn-lint checks both sides of every condition. These parameters cover the conditions that SAM evaluates.
    for parameters in ({}, {"Canary": "true"}, {"SourceIndex": "false"}):
        failed += [f"{parameters}: {line}" for line in [lint(translate(template, parameters))] if line]
    cases = [(name, change, lambda stack: invariants(stack) or lint(stack)) for name, change in MISTAKES.items()]
    cases += [(name, change, permissions) for name, change in TAMPERING.items()]
    cases += [(name, change, replaced) for name, change in REPLACEMENTS.items()]
    detected = [(name, detects(change, check)) for name, change, check in cases]
    detected += [(name, detects_before_translation(change, omissions)) for name, change in OMISSIONS.items()]
    detected += [(name, detects_before_translation(change, versions)) for name, change in STALE_VERSIONS.items()]
    swap = lambda t: t["Conditions"].update(ServerMessageIsPrivate=t["Conditions"]["AgentChatIsPrivate"])
    detected.append(("a function in the network of another", detects_before_translation(swap, networks)))
    for name, is_detected in detected:
        if is_detected:
            print(f"  detected: {name}")
        else:
            failed.append(f"not detected: {name}")
    sys.exit("\n".join(failed) or None)


main()
