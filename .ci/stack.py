"""Translates infra/template.yaml to plain CloudFormation, and evaluates the result for values of its parameters."""
import copy
from pathlib import Path

from samtranslator.translator.transform import transform

INFRA = Path(__file__).parent.parent / "infra"

# What a property has if CloudFormation leaves it out.
NO_VALUE = object()


class NoManagedPolicies:
    def load(self):
        return {}


def translate(template, parameters):
    """Returns the template as plain CloudFormation. Replaces code locations, because nothing is built."""
    template = copy.deepcopy(template)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return transform(template, dict(parameters), NoManagedPolicies())


class Stack:
    """The resources that CloudFormation creates, with their properties. Values that only a deployment knows, such as a
    resource's ARN, are texts like `<EventTable.Arn>`."""

    def __init__(self, template, parameters):
        self.template = template
        declared = template.get("Parameters", {})
        self.parameters = {
            name: self.typed(parameter, parameters.get(name, parameter.get("Default", "")))
            for name, parameter in declared.items()
        }
        self.conditions = template.get("Conditions", {})
        self.resources = {
            name: resource | {"Properties": self.value(resource.get("Properties", {}))}
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.condition(resource["Condition"])
        }

    @staticmethod
    def typed(parameter, value):
        """Returns a parameter's value: a list for the types of lists."""
        is_list = parameter["Type"] == "CommaDelimitedList" or parameter["Type"].startswith("List<")
        return str(value).split(",") if is_list else str(value)

    def condition(self, name):
        return self.value(self.conditions[name])

    def of_type(self, resource_type):
        """Returns the properties of the resources of a type, by logical id."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == resource_type
        }

    def value(self, node):
        """Evaluates the intrinsic functions in a value."""
        if isinstance(node, dict):
            if len(node) == 1:
                (key, argument), = node.items()
                function = FUNCTIONS.get(key)
                if function:
                    return function(self, argument)
            members = {name: self.value(member) for name, member in node.items()}
            return {name: member for name, member in members.items() if member is not NO_VALUE}
        if isinstance(node, list):
            return [item for item in (self.value(item) for item in node) if item is not NO_VALUE]
        return node

    def ref(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        return self.parameters.get(name, f"<{name}>")

    def sub(self, argument):
        text, variables = argument if isinstance(argument, list) else (argument, {})
        pieces = text.split("${")
        result = pieces[0]
        for piece in pieces[1:]:
            name, rest = piece.split("}", 1)
            value = self.value(variables[name]) if name in variables else self.ref(name)
            result += str(value) + rest
        return result

    def find_in_map(self, name, first, second):
        return self.template["Mappings"][name][first][second]

    def select(self, argument):
        index, items = argument
        return self.value(items)[int(self.value(index))]


FUNCTIONS = {
    "Ref": Stack.ref,
    "Condition": Stack.condition,
    "Fn::GetAtt": lambda stack, name: f"<{name if isinstance(name, str) else '.'.join(name)}>",
    "Fn::If": lambda stack, branches: stack.value(branches[1 if stack.condition(branches[0]) else 2]),
    "Fn::Sub": Stack.sub,
    "Fn::Join": lambda stack, argument: argument[0].join(map(str, stack.value(argument[1]))),
    "Fn::Split": lambda stack, argument: str(stack.value(argument[1])).split(argument[0]),
    "Fn::Select": Stack.select,
    "Fn::FindInMap": lambda stack, path: stack.find_in_map(*map(stack.value, path)),
    "Fn::Equals": lambda stack, sides: str(stack.value(sides[0])) == str(stack.value(sides[1])),
    "Fn::Not": lambda stack, conditions: not stack.value(conditions[0]),
    "Fn::And": lambda stack, conditions: all(map(stack.value, conditions)),
    "Fn::Or": lambda stack, conditions: any(map(stack.value, conditions)),
}
