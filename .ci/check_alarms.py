"""Simulates CloudWatch's evaluation of the alarms in infra/template.yaml, and checks which alarms fire, and when.

A scenario is a list of metric values. Every minute, each alarm looks at its last periods that have ended. The periods
slide with the minutes, which is CloudWatch's default, or begin at multiples of their length. An alarm has to fire, or
not to fire, in both modes. Values arrive a minute late.
"""
import math
import sys
from collections import defaultdict

from samcli.yamlhelper import yaml_parse

from stack import INFRA, Stack, translate

TEMPLATE = yaml_parse(INFRA.joinpath("template.yaml").read_text(encoding="utf-8"))
MINUTE = 60
# The time from an event to its value in CloudWatch, in seconds.
DELAY = 60
# Minutes after the first receive at which a queued message is received: functions/event-retry, `back_off`.
RECEIVES = [0, 3, 15, 63, 243]

COMPARISONS = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
}


class Metrics:
    """Values by namespace, name and dimension. Times are seconds since the beginning of the scenario."""

    def __init__(self):
        self.values = defaultdict(list)

    def add(self, at, namespace, name, value, dimension=None):
        self.values[namespace, name, dimension].append((at, value))

    def request(self, at, outcome, status=200, is_verified=True, ms=20, more=0, ask_ms=None, is_answered=True):
        """A log line of a request. shared/receiver/src/log/line.rs defines its metrics."""
        requests = 1 + more
        is_server_error = status >= 500 and outcome != "closed"
        counts = {
            "outcomes": requests,
            outcome: requests,
            "server_error": requests if is_server_error else 0,
            "unverified": 0 if is_verified else requests,
            "webhook_ms": ms - (ask_ms or 0),
        }
        if ask_ms is not None:
            counts |= {"questions": 1, "fallback": 0 if is_answered else 1}
        for name, value in counts.items():
            self.add(at, "Gatehouse", name, value, "<AWS::StackName>")
        self.add(at, "AWS/Lambda", "Errors", 0, "<ServerMessage>")

    def queued_event(self, at, recovered_at=math.inf, is_consumed=True):
        """An event that waits on the retry queue until DynamoDB has recovered."""
        self.request(at, "queued")
        received = [at + minutes * MINUTE for minutes in RECEIVES] if is_consumed else []
        recorded_at = next((time for time in received if time >= recovered_at), math.inf)
        for time in received:
            if time < recorded_at:
                self.line(time, "failed" if time < received[-1] else "dead-lettered")
        # SQS leaves out messages that have been received three times.
        leaves_at = min(recorded_at, received[2] if received else math.inf, at + 4 * 3600)
        for time in range(at, int(leaves_at), MINUTE):
            self.add(time, "AWS/SQS", "ApproximateAgeOfOldestMessage", time - at, "<RetryQueue.QueueName>")
        self.line(recorded_at, "recorded")

    def line(self, at, outcome):
        """A log line of event-retry."""
        if at < math.inf:
            for name in ("outcomes", outcome):
                self.add(at, "Gatehouse", name, 1, "<AWS::StackName>")
        if outcome == "dead-lettered":
            for time in range(int(at), int(at) + 24 * 3600, MINUTE):
                self.add(time, "AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, "<DeadLetterQueue.QueueName>")

    def attempt(self, at, is_failed=False, is_dead=False):
        """A log line of deliver."""
        counts = {"delivery_attempts": 1, "delivery_failed": int(is_failed or is_dead), "delivery_dead": int(is_dead)}
        for name, value in counts.items():
            self.add(at, "Gatehouse", name, value, "<AWS::StackName>")

    def stopped(self, begin, end):
        """The log lines of deliver's sweeps about a destination that gets nothing."""
        for at in range(begin, end, MINUTE):
            self.add(at, "Gatehouse", "destination_stopped", 1, "<AWS::StackName>")

    def statistic(self, metric, statistic, begin, end):
        """Returns the statistic of a period; None without values."""
        dimensions = metric.get("Dimensions", [])
        key = (metric["Namespace"], metric["MetricName"], dimensions[0]["Value"] if dimensions else None)
        values = sorted(value for at, value in self.values[key] if begin <= at < end)
        if not values:
            return None
        match statistic:
            case "Sum":
                return sum(values)
            case "Maximum":
                return values[-1]
            case "SampleCount":
                return len(values)
            case "p99":
                return values[math.ceil(0.99 * len(values)) - 1]
        raise ValueError(f"unknown statistic {statistic}")

    def data_point(self, alarm, begin, end):
        if "Metrics" not in alarm:
            return self.statistic(alarm, alarm.get("Statistic") or alarm["ExtendedStatistic"], begin, end)
        values = {
            metric["Id"]: self.statistic(metric["MetricStat"]["Metric"], metric["MetricStat"]["Stat"], begin, end)
            for metric in alarm["Metrics"]
            if "MetricStat" in metric
        }
        if None in values.values():
            return None
        expression, = (metric["Expression"] for metric in alarm["Metrics"] if "Expression" in metric)
        try:
            return eval(expression, {"IF": lambda test, then, other: then if test else other}, values)
        except ZeroDivisionError:
            return None


def period(alarm):
    if "Metrics" not in alarm:
        return alarm["Period"]
    length, = {metric["MetricStat"]["Period"] for metric in alarm["Metrics"] if "MetricStat" in metric}
    return length


def fires_at(alarm, metrics, minutes, step):
    """Returns the minute at which an alarm fires first; None if it does not. Periods begin at multiples of `step`."""
    length, periods = period(alarm), alarm["EvaluationPeriods"]
    assert alarm["TreatMissingData"] == "notBreaching"
    is_breaching = COMPARISONS[alarm["ComparisonOperator"]]
    breaching = {}
    for end in range(step, minutes * MINUTE + 1, step):
        value = metrics.data_point(alarm, end - length, end)
        breaching[end] = value is not None and is_breaching(value, alarm["Threshold"])
        points = [breaching.get(end - n * length, False) for n in range(periods)]
        if sum(points) >= alarm.get("DatapointsToAlarm", periods):
            return (end + DELAY) // MINUTE
    return None


def both_modes(alarm, metrics, minutes):
    """Returns the first and the last minute at which an alarm may fire, depending on the mode of its periods."""
    modes = [fires_at(alarm, metrics, minutes, step) for step in (MINUTE, period(alarm))]
    return None if modes == [None, None] else modes


# === scenarios: each adds metric values and returns its length in minutes and the alarms that fire, with the latest minute

def quiet_day(metrics):
    for hour in range(0, 24, 3):
        metrics.request(hour * 3600 + 17, "recorded")
    return 24 * 60, {}


def stray_requests(metrics):
    """Five requests of an unknown client to a stack without other traffic."""
    answers = [("refused", 401), ("refused", 404), ("refused", 401), ("closed", 503), ("refused", 401)]
    for n, (outcome, status) in enumerate(answers):
        metrics.request(n * 40, outcome, status, is_verified=status != 401)
    return 60, {}


def closed_vendor(metrics):
    """A vendor sends to an endpoint whose secret is not configured yet."""
    for at in range(0, 3600, 10):
        metrics.request(at, "closed", 503)
    return 60, {}


def scanner(metrics):
    """A scanner sends 300 requests within a minute, over the end of a period, and 60 later."""
    for n in range(300):
        metrics.request(270 + n // 5, "refused", 401, is_verified=False)
    metrics.request(1300, "refused", 401, is_verified=False, more=59)
    return 60, {}


def forged_flood(metrics):
    """500 forged requests a second for half an hour; one line in a second counts the others."""
    for at in range(0, 1800):
        metrics.request(at, "refused", 401, is_verified=False, more=499)
        metrics.request(at, "recorded")
    return 60, {"UnverifiedAlarm": 17}


def errors_in_a_flood(metrics):
    """Real requests get 503, and many more forged ones get 401."""
    for at in range(0, 1800):
        metrics.request(at, "refused", 401, is_verified=False, more=199)
        if at % 10 == 0:
            metrics.request(at, "unavailable", 503)
    return 30, {"UnverifiedAlarm": 17, "UnavailableAlarm": 7}


def errors_of_a_quiet_stack(metrics):
    """Every request gets 503, one in 40 seconds."""
    for at in range(0, 1800, 40):
        metrics.request(at, "unavailable", 503)
    return 30, {"UnavailableAlarm": 7}


def secret_changed_on_one_side(metrics):
    for at in range(0, 3600, 12):
        metrics.request(at, "refused", 401, is_verified=False)
    return 60, {"UnverifiedAlarm": 17}


def dynamodb_outage(metrics):
    """DynamoDB is down for 20 minutes. Events are queued and acknowledged."""
    for at in range(0, 3600, 2):
        if at < 1200:
            metrics.queued_event(at, recovered_at=1200)
        else:
            metrics.request(at, "recorded")
    return 60, {"QueuedAlarm": 7, "FailedAlarm": 12, "RetryAgeAlarm": 17}


def dynamodb_outage_of_a_quiet_stack(metrics):
    """DynamoDB is down for an hour. One event arrives."""
    metrics.queued_event(200, recovered_at=3600)
    return 60, {"FailedAlarm": 22, "RetryAgeAlarm": 22}


def short_throttling(metrics):
    """DynamoDB throttles for half a minute."""
    for at in range(0, 30):
        metrics.queued_event(at, recovered_at=60)
    return 60, {}


def lasting_throttling(metrics):
    """DynamoDB throttles one of a hundred events, as the index by-source does above its limit. The first retry succeeds."""
    for at in range(0, 1800):
        if at % 10 == 0:
            metrics.queued_event(at, recovered_at=at)
        else:
            metrics.request(at, "recorded")
    return 60, {"QueuedAlarm": 7}


def poison_message(metrics):
    """An event that can never be recorded."""
    metrics.queued_event(0)
    return 300, {"FailedAlarm": 22, "RetryAgeAlarm": 17, "DeadLettersAlarm": 246}


def stuck_consumer(metrics):
    """A few events are queued, and event-retry takes nothing."""
    for at in range(0, 60, 5):
        metrics.queued_event(at, is_consumed=False)
    return 60, {"RetryAgeAlarm": 17}


def total_outage(metrics):
    """Neither DynamoDB nor SQS accepts an event."""
    for at in range(0, 1800, 2):
        metrics.request(at, "unavailable", 503)
    return 60, {"UnavailableAlarm": 7}


def lost_event(metrics):
    metrics.request(10, "unrecorded")
    return 60, {"UnrecordedAlarm": 3}


def bad_release(metrics, began=10):
    """A canary gets 10 % of the requests for ten minutes, and answers them with 500."""
    for at in range(0, (began + 10) * 60):
        is_bad = at >= began * 60 and at % 10 == 0
        metrics.request(at, *(("unavailable", 500) if is_bad else ("recorded", 200)))
    return began + 10, {"UnavailableAlarm": began + 9}


def bad_release_just_after_a_period_began(metrics):
    return bad_release(metrics, began=11)


def bad_release_just_before_a_period_ended(metrics):
    return bad_release(metrics, began=14)


def crashing_release(metrics):
    """A canary crashes. It begins at minute 13 and lasts ten minutes."""
    for at in range(0, 23 * 60, 6):
        metrics.request(at, "recorded")
        metrics.add(at, "AWS/Lambda", "Errors", 1 if at >= 13 * 60 and at % 60 == 0 else 0, "<ServerMessage>")
    return 23, {"ServerMessageErrorsAlarm": 15}


def slow_responses(metrics):
    for at in range(0, 1200, 5):
        metrics.request(at, "recorded", ms=4500 if at % 50 == 0 else 30)
    return 30, {"LatencyAlarm": 12}


def slow_service(metrics):
    """A service needs 9 s for tool calls, and answers."""
    for at in range(0, 1200, 5):
        metrics.request(at, "recorded", ms=9030, ask_ms=9000)
    return 30, {}


def failing_service(metrics):
    """A service answers one in ten questions too late."""
    for at in range(0, 1200, 5):
        metrics.request(at, "recorded", ms=8030, ask_ms=8000, is_answered=at % 50 != 0)
    return 30, {"FallbackAlarm": 7}


def one_failed_question_of_a_quiet_stack(metrics):
    for at in range(0, 3600, 60):
        metrics.request(at, "recorded", ms=8030, ask_ms=8000, is_answered=at > 0)
    return 60, {}


def one_slow_cold_start_of_a_quiet_stack(metrics):
    for at in range(0, 3600, 60):
        metrics.request(at, "recorded", ms=4500 if at == 0 else 30)
    return 60, {}


def throttled_invocations(metrics):
    metrics.add(30, "AWS/Lambda", "Throttles", 3, "<ClientMessage>")
    return 30, {"ClientMessageThrottlesAlarm": 3}


def conflict(metrics):
    metrics.request(0, "conflict")
    return 60, {"ConflictsAlarm": 17}


def flaky_destination(metrics):
    """A destination refuses one of ten attempts."""
    for at in range(0, 3600, 10):
        metrics.attempt(at, is_failed=at % 100 == 0)
    return 60, {}


def failing_destination(metrics):
    """Many destinations refuse everything for 20 minutes. Their breakers are open, and each gets one probe a minute."""
    for at in range(0, 1200, 10):
        metrics.attempt(at, is_failed=True)
    metrics.stopped(120, 1200)
    return 60, {"DeliveriesFailingAlarm": 17, "DestinationStoppedAlarm": 14}


def dead_destination(metrics):
    """The only destination refuses everything. After a minute its breaker is open, and it gets one probe a minute."""
    for at in range(0, 3600, 60):
        metrics.attempt(at, is_failed=True)
    metrics.stopped(60, 3600)
    return 60, {"DestinationStoppedAlarm": 12}


def short_outage_of_a_destination(metrics):
    """A destination is restarted, and refuses everything for four minutes, over the end of a period."""
    for at in range(0, 3600, 10):
        is_down = 180 <= at < 420
        metrics.attempt(at, is_failed=is_down and (at < 240 or at % 60 == 0))
    metrics.stopped(240, 480)
    return 60, {}


def disabled_destination(metrics):
    """A destination responds with status 410."""
    metrics.attempt(0, is_failed=True)
    metrics.stopped(60, 3600)
    return 60, {"DestinationStoppedAlarm": 12}


def stuck_deliveries(metrics):
    """The function deliver takes no messages. More and more doorbells wait."""
    for at in range(0, 3600, 60):
        metrics.add(at, "AWS/SQS", "ApproximateAgeOfOldestMessage", at // 2, "<DeliveryQueue.QueueName>")
    return 60, {"DeliveriesLateAlarm": 37}


def slow_destination(metrics):
    """A destination needs 15 s for each response."""
    for at in range(0, 3600, 60):
        metrics.attempt(at)
        metrics.add(at, "AWS/SQS", "ApproximateAgeOfOldestMessage", at // 2, "<SlowDeliveryQueue.QueueName>")
    return 60, {"SlowDeliveriesLateAlarm": 37}


def dead_delivery(metrics):
    metrics.attempt(10, is_dead=True)
    return 60, {"DeadDeliveriesAlarm": 7}


def stuck_outbox(metrics):
    """The outbox cannot read the secrets document."""
    for at in range(0, 2 * 3600, 60):
        metrics.add(at, "AWS/Lambda", "IteratorAge", at * 1000, "<Outbox>")
    return 120, {"OutboxAgeAlarm": 67}


SCENARIOS = [
    flaky_destination, failing_destination, dead_destination, short_outage_of_a_destination, disabled_destination,
    stuck_deliveries, slow_destination, dead_delivery, stuck_outbox,
    quiet_day, stray_requests, closed_vendor, scanner, forged_flood, errors_in_a_flood, errors_of_a_quiet_stack,
    secret_changed_on_one_side, dynamodb_outage, dynamodb_outage_of_a_quiet_stack, short_throttling, lasting_throttling,
    poison_message, stuck_consumer, total_outage, lost_event, bad_release, bad_release_just_after_a_period_began,
    bad_release_just_before_a_period_ended, crashing_release, slow_responses, slow_service, failing_service,
    one_failed_question_of_a_quiet_stack, one_slow_cold_start_of_a_quiet_stack,
    throttled_invocations, conflict,
]


def alarms(parameters):
    return Stack(translate(TEMPLATE, parameters), parameters).of_type("AWS::CloudWatch::Alarm")


def main():
    problems = []
    topic = "arn:aws:sns:eu-north-1:111122223333:alarms"
    some = [{"AlarmTopicArn": topic}, {"Canary": "true"}, {"Alarms": "all"}]
    for parameters, exist in [({}, False), *((parameters, True) for parameters in some)]:
        if bool(alarms(parameters)) != exist:
            problems.append(f"{parameters}: the alarms {'do not exist' if exist else 'exist'}")
        notified = {tuple(alarm.get("AlarmActions", ())) for alarm in alarms(parameters).values()}
        if notified - {(topic,) if "AlarmTopicArn" in parameters else ()}:
            problems.append(f"{parameters}: the alarms notify {notified}")
    fired, all_alarms = set(), alarms({"Alarms": "all", "Deliveries": "true"})
    for scenario in SCENARIOS:
        metrics = Metrics()
        minutes, expected = scenario(metrics)
        found = {name: both_modes(alarm, metrics, minutes) for name, alarm in all_alarms.items()}
        found = {name: modes for name, modes in found.items() if modes}
        fired |= set(found)
        minutes_of = lambda modes: " or ".join(sorted({str(minute) for minute in modes}))
        listed = ", ".join(f"{name} after {minutes_of(modes)} min" for name, modes in found.items())
        print(f"  {scenario.__name__.replace('_', ' ')}: {listed or 'no alarm'}")
        is_late = lambda name: None in found[name] or max(found[name]) > expected[name]
        if set(found) != set(expected) or any(map(is_late, expected)):
            problems.append(f"{scenario.__name__}: {found}, expected {expected}")
    kinds = {name for name in all_alarms if not name.endswith(("ErrorsAlarm", "ThrottlesAlarm"))}
    if kinds - fired:
        problems.append(f"no scenario makes {sorted(kinds - fired)} fire")
    sys.exit("\n".join(problems) or None)


main()
