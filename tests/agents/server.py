"""Runs the AG-Kit server of the Python Package Index with a test agent. The last user message selects its response.

    python server.py        prints its port and serves until it is killed

Speaks AG-Kit with cloudbase-agent-server 0.1.1 and AG-UI with 0.1.22. The agent sends the same events to both, and the
servers translate them.
"""
import asyncio
import json
import logging
import socket

import uvicorn
from ag_ui.core import events as e
from cloudbase_agent import server

TEXT = "naïve ☕ 👩‍🚀 \u2028 \"quoted\" \\ \n data: [DONE]\n\n"


def text(words):
    yield e.TextMessageStartEvent(type="TEXT_MESSAGE_START", message_id="m1", role="assistant")
    for word in words:
        chunk = {"data": {"chunk": {"content": word}}}
        yield e.TextMessageContentEvent(type="TEXT_MESSAGE_CONTENT", message_id="m1", delta=word, raw_event=chunk)
    yield e.TextMessageEndEvent(type="TEXT_MESSAGE_END", message_id="m1")


def call(name, *parts, result=None):
    yield e.ToolCallStartEvent(type="TOOL_CALL_START", tool_call_id=name, tool_call_name=name)
    for part in parts:
        yield e.ToolCallArgsEvent(type="TOOL_CALL_ARGS", tool_call_id=name, delta=part)
    yield e.ToolCallEndEvent(type="TOOL_CALL_END", tool_call_id=name)
    if result is not None:
        yield e.ToolCallResultEvent(type="TOOL_CALL_RESULT", message_id="r", tool_call_id=name, content=result)


class Agent:
    async def run(self, run):
        prompt = next((m.content for m in reversed(run.messages) if m.role == "user"), "")
        ids = {"thread_id": run.thread_id or "t", "run_id": run.run_id or "r"}
        yield e.RunStartedEvent(type="RUN_STARTED", **ids)
        for event in self.respond(prompt):
            if isinstance(event, float):
                await asyncio.sleep(event)
            else:
                yield event
        yield e.RunFinishedEvent(type="RUN_FINISHED", **ids)

    def respond(self, prompt):
        if prompt == "words":
            yield from text(TEXT.split(" "))
        elif prompt == "tools":
            yield from call("clock", '{"zone":', '"UTC"}', result="nine")
            yield from call("open", "{}")
            yield from text(["It is nine."])
        elif prompt == "large":
            yield from text(["x" * 300_000, "y" * 100_000])
        elif prompt == "interrupt":
            yield from text(["Shall I?"])
            yield e.CustomEvent(
                type="CUSTOM", name="on_interrupt", value=json.dumps({"berth": "C14"}), raw_event="i1")
        elif prompt == "break":
            yield from text(["a", "b"])
            raise RuntimeError("in confidence")
        elif prompt == "break at once":
            raise RuntimeError("in confidence")
        elif prompt == "pauses":
            for word in "one two three".split():
                yield 0.2
                yield from text([word])
        # "nothing" has no events.


def create(*_):
    return {"agent": Agent()}


def fails(*_):
    raise RuntimeError("in confidence")


def main():
    logging.disable(logging.CRITICAL)
    app = getattr(server, "AGKitAPIApp", None) or server.AgentServiceApp
    built, broken = app().build(create), app().build(fails)

    async def serve(scope, receive, send):
        """Routes paths below /broken to a server that fails to create its agent."""
        if scope["type"] == "http" and scope["path"].startswith("/broken"):
            path = scope["path"].removeprefix("/broken")
            return await broken({**scope, "path": path, "raw_path": path.encode()}, receive, send)
        await built(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(serve, log_level="critical")).run(sockets=[listener])


main()
