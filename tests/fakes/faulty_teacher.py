"""A fast chat-completions server in its own process, with faults, a limit and a waiting line.

Bare asyncio, so that the client and not the server is what gets measured. Which fault a request
meets follows from its prompt and from how often that prompt was asked before: a run can be
repeated, and a retry draws anew.
"""

import argparse
import asyncio
import contextlib
import email.utils
import hashlib
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

__all__ = ["FAULTS", "Server", "answer_text", "faulty_teacher"]

# 429 in three forms, 5xx, silence, an answer that is cut off, an answer that is none.
FAULTS = {"429": 0.20, "500": 0.05, "hang": 0.02, "cut": 0.02, "garbage": 0.01}

_GARBAGE = (b'{"id": "x", "choi', b'{"choices": []}', b'{"error": {"message": "overloaded"}}')
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_WORDS = [
    "a",
    "the",
    "of",
    "to",
    "in",
    "is",
    "and",
    "on",
    "sky",
    "sea",
    "moon",
    "tree",
    "stone",
    "bird",
]
_ANSWER_WORDS = 100


def answer_text(prompt: str) -> str:
    """Return the good answer to a prompt: words that follow from it."""
    drawn = hashlib.shake_128(prompt.encode()).digest(_ANSWER_WORDS - 3)
    return "The answer is: " + " ".join(_WORDS[byte % len(_WORDS)] for byte in drawn)


@dataclass
class Server:
    """The running server; it outlives killed clients, so its counts can be read after them."""

    url: str

    def get(self, path: str) -> Any:
        """Return the JSON at a path beside /v1: /counts or /usage."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + path, timeout=60) as reply:
            return json.load(reply)

    def asked(self) -> Counter[str]:
        """Count the requests received by the text of their last message."""
        return Counter(self.get("/counts")["asked"])

    def answered(self) -> Counter[str]:
        """Count the good completions that were sent whole."""
        return Counter(self.get("/counts")["answered"])

    def usage(self) -> dict[str, int]:
        """Return the tokens of all completions begun, which a vendor would bill."""
        return dict(self.get("/usage"))


class _State:
    """What all connections share."""

    def __init__(self, options: argparse.Namespace):
        self.delay, self.faults = options.delay, options.faults
        self.limit, self.queue = options.limit, options.queue
        self.log: TextIO | None = options.log
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        self.prompt_tokens = self.completion_tokens = 0
        self.under_way = self.served = self.most_under_way = 0
        self.line: deque[_Connection] = deque()

    def fault(self, prompt: str, times: int) -> tuple[str, int]:
        """Return the fault that a request meets ('' for none) and a byte to choose its form."""
        drawn = hashlib.blake2b(f"{times}:{prompt}".encode(), digest_size=8).digest()
        place = int.from_bytes(drawn[:6], "big") / 2**48
        for name, share in self.faults.items():
            if place < share:
                return name, drawn[7]
            place -= share
        return "", 0

    def note(self, event: str, prompt: str, fault: str = "") -> None:
        """Write one line to the log."""
        if self.log:
            line = {"time": time.time(), "event": event, "prompt": prompt, "fault": fault}
            self.log.write(json.dumps(line) + "\n")

    async def flush(self) -> None:
        """Write the log out ten times a second."""
        while self.log:
            self.log.flush()
            await asyncio.sleep(0.1)

    def counts(self) -> dict[str, Any]:
        """Return what GET /counts answers; the log is as far then."""
        if self.log:
            self.log.flush()
        return {
            "asked": self.asked,
            "answered": self.answered,
            "faults": self.faulted,
            "under_way": self.under_way,
            "most_under_way": self.most_under_way,
        }


class _Connection(asyncio.Protocol):
    """One connection: a request at a time, kept alive."""

    def __init__(self, state: _State):
        self.state = state
        self.buffer = bytearray()
        self.holds_place = self.is_served = False
        self.timer: asyncio.TimerHandle | None = None
        self.prompt, self.prompt_tokens, self.fault, self.form = "", 0, "", 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.holds_place:
            self.state.note("left", self.prompt, self.fault)
        self.release()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while not self.holds_place and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, size = bytes(self.buffer[:end]), 0
            if (at := head.lower().find(b"content-length:")) >= 0:
                size = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + size:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + size])
            del self.buffer[: end + 4 + size]
            method, path = head.split(b" ", 2)[:2]
            self.route(method, path, body)

    def route(self, method: bytes, path: bytes, body: bytes) -> None:
        match method, path:
            case b"POST", b"/v1/chat/completions":
                self.complete(body)
            case b"GET", b"/v1/models":
                models = {"object": "list", "data": [{"id": "fake-1", "object": "model"}]}
                self.reply(200, json.dumps(models).encode())
            case b"GET", b"/counts":
                self.reply(200, json.dumps(self.state.counts()).encode())
            case b"GET", b"/usage":
                names = ("prompt_tokens", "completion_tokens")
                usage = {name: getattr(self.state, name) for name in names}
                self.reply(200, json.dumps(usage).encode())
            case _:
                self.reply(404, b'{"error": {"message": "not found"}}')

    def complete(self, body: bytes) -> None:
        """Refuse a request at once, or take it in and give it a place."""
        state = self.state
        try:
            texts = [_text(message["content"]) for message in json.loads(body)["messages"]]
            prompt = self.prompt = texts[-1]
        except (ValueError, LookupError, TypeError):
            self.reply(400, b'{"error": {"message": "expected JSON with messages"}}')
            return
        self.prompt_tokens = sum(len(text.split()) for text in texts)
        self.fault, self.form = state.fault(prompt, state.asked[prompt])
        state.asked[prompt] += 1
        if state.limit and state.under_way >= state.limit:
            self.fault, self.form = "429", 0
        if self.fault:
            state.faulted[self.fault] += 1
        state.note("asked", prompt, self.fault)
        if self.fault in ("429", "500"):
            self.refuse()
            return
        self.holds_place = True
        state.under_way += 1
        state.most_under_way = max(state.most_under_way, state.under_way)
        if state.queue and state.served >= state.queue:
            state.line.append(self)
        else:
            self.begin()

    def refuse(self) -> None:
        """Answer 429 in one of three forms, or 500, 502 or 503."""
        if self.fault == "500":
            self.reply((500, 502, 503)[self.form % 3], b'{"error": {"message": "broken"}}')
            return
        # A fraction of a second is not legal there; "1" is rare, as it costs a test a second.
        seconds = "1" if self.form < 2 else "0"
        date = email.utils.formatdate(time.time(), usegmt=True)
        wait = ("", f"Retry-After: {seconds}\r\n", f"Retry-After: {date}\r\n")[self.form % 3]
        self.reply(429, b'{"error": {"message": "slow down"}}', wait)

    def begin(self) -> None:
        """Begin to generate: from here on a vendor bills the whole completion."""
        state = self.state
        self.is_served = True
        state.served += 1
        state.prompt_tokens += self.prompt_tokens
        state.completion_tokens += _ANSWER_WORDS
        if self.fault == "hang":
            return
        if state.delay:
            self.timer = asyncio.get_running_loop().call_later(state.delay, self.finish)
        else:
            self.finish()

    def finish(self) -> None:
        """Send the answer, or what the fault makes of it."""
        prompt, fault = self.prompt, self.fault
        self.release()
        if fault == "garbage":
            self.reply(200, _GARBAGE[self.form % 3])
        else:
            data = _completion(prompt, self.prompt_tokens)
            if fault == "cut":
                self.reply(200, data[: len(data) // 2], size=len(data))
                self.transport.close()
            elif not self.transport.is_closing():
                self.reply(200, data)
                self.state.answered[prompt] += 1
                self.state.note("answered", prompt)
        if self.buffer:
            self.data_received(b"")

    def release(self) -> None:
        """Give the place back; the first in line is served."""
        state = self.state
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if self.holds_place:
            self.holds_place = False
            state.under_way -= 1
            if not self.is_served:
                state.line.remove(self)
        if self.is_served:
            self.is_served = False
            state.served -= 1
            if state.line:
                state.line.popleft().begin()

    def reply(self, status: int, data: bytes, header: str = "", size: int | None = None) -> None:
        head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n{header}"
            f"Content-Type: application/json\r\nContent-Length: {size or len(data)}\r\n\r\n"
        )
        self.transport.write(head.encode() + data)


def _text(content: str | list[dict[str, Any]]) -> str:
    """Return the text of a message, which may come in parts."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _completion(prompt: str, prompt_tokens: int) -> bytes:
    message = {"role": "assistant", "content": answer_text(prompt)}
    body = {
        "id": "chatcmpl-" + hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest(),
        "object": "chat.completion",
        "created": 1790000000,
        "model": "fake-1",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": _ANSWER_WORDS,
            "total_tokens": prompt_tokens + _ANSWER_WORDS,
        },
    }
    return json.dumps(body).encode()


@contextlib.contextmanager
def faulty_teacher(
    *,
    delay: float = 0.0,
    faults: dict[str, float] | None = None,
    limit: int = 0,
    queue: int = 0,
    log: Path | None = None,
) -> Iterator[Server]:
    """Serve while the block runs.

    Args:
        delay: seconds from the start of a completion to its answer.
        faults: shares of requests that meet "429", "500", "hang", "cut" and "garbage".
        limit: more requests than this in progress are answered with 429; 0 takes any number.
        queue: more requests than this wait in line to be served; 0 serves any number.
        log: a file that gets a line of JSON for every request and every good answer.
    """
    command = [sys.executable, "-m", "tests.fakes.faulty_teacher", "--delay", str(delay)]
    command += ["--limit", str(limit), "--queue", str(queue), "--faults", json.dumps(faults or {})]
    if log:
        command += ["--log", str(log)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Server(process.stdout.readline().strip())
        finally:
            process.terminate()


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--faults", type=json.loads, default={})
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--queue", type=int, default=0)
    parser.add_argument("--log", type=argparse.FileType("a"))
    options = parser.parse_args()
    state = _State(options)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(state), "127.0.0.1", options.port, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.gather(server.serve_forever(), state.flush())


if __name__ == "__main__":
    asyncio.run(_main())
