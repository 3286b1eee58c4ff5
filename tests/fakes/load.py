"""A fast chat-completions server in a process of its own, with faults in fixed shares.

Bare asyncio, so that it is not what a client is measured against. Which fault a request meets
follows from its prompt and how often it was asked before: a run can be repeated.
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
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FAULTS", "LoadServer", "load_server"]

# Five ways to fail, and how often each.
FAULTS = {"429": 0.20, "5xx": 0.05, "hang": 0.02, "cut": 0.02, "garbage": 0.01}
_GARBAGE = (b'{"id": "x", "choi', b'{"choices": []}', b'{"error": {"message": "overloaded"}}')
_STATUS = {200: "OK", 404: "Not Found", 429: "Too Many Requests"}


@dataclass
class LoadServer:
    """The running server; counts are asked of it, as it outlives the clients that are killed."""

    url: str

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url.removesuffix("/v1") + path, timeout=60) as reply:
            return json.load(reply)

    def asked(self) -> Counter[str]:
        """How often each prompt was asked, whatever came of it."""
        return Counter(self._get("/counts")["asked"])

    def answered(self) -> Counter[str]:
        """How often each prompt was answered well."""
        return Counter(self._get("/counts")["answered"])

    def totals(self) -> dict[str, int]:
        """All requests and good answers, and the tokens that a vendor would bill."""
        return self._get("/totals")

    def forget(self) -> None:
        """Begin to count anew."""
        self._get("/forget")


class _State:
    def __init__(self, delay: float, faults: dict[str, float], most: int, words: int):
        self.delay, self.faults, self.most, self.words = delay, faults, most, words
        self.under_way = 0
        self.forget()

    def forget(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.tokens = 0

    def fault(self, prompt: str, times: int) -> tuple[str, int]:
        """Return the fault that this request meets ('' for none), and which form of it."""
        if not self.faults:
            return "", 0
        drawn = hashlib.blake2b(f"{times}:{prompt}".encode(), digest_size=8).digest()
        place = int.from_bytes(drawn[:6], "big") / 2**48
        for name, share in self.faults.items():
            if place < share:
                return name, drawn[7]
            place -= share
        return "", 0


def _completion(prompt: str, words: int) -> bytes:
    text = f"The answer to: {prompt}" + " word" * words
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "fake-1",
        "system_fingerprint": "fp_1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": words + 3, "total_tokens": words + 13},
    }
    return json.dumps(body).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State):
        self.state = state
        self.buffer = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            size = 0
            if (at := head.lower().find(b"content-length:")) >= 0:
                size = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + size:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + size])
            del self.buffer[: end + 4 + size]
            self.serve(*head.split(b" ", 2)[:2], body)

    def serve(self, method: bytes, path: bytes, body: bytes) -> None:
        state = self.state
        match method, path:
            case b"POST", _:
                self.complete(json.loads(body)["messages"][-1]["content"])
            case _, b"/counts":
                counts = {"asked": state.asked, "answered": state.answered}
                self.reply(200, json.dumps(counts).encode())
            case _, b"/totals":
                totals = {
                    "asked": state.asked.total(),
                    "answered": state.answered.total(),
                    "tokens": state.tokens,
                }
                self.reply(200, json.dumps(totals).encode())
            case _, b"/forget":
                state.forget()
                self.reply(200, b"{}")
            case _, b"/v1/models":
                self.reply(200, b'{"object": "list", "data": [{"id": "fake-1"}]}')
            case _:
                self.reply(404, b"{}")

    def complete(self, prompt: str) -> None:
        state = self.state
        times = state.asked[prompt]
        state.asked[prompt] += 1
        fault, form = state.fault(prompt, times)
        if state.most and state.under_way >= state.most:
            fault, form = "429", 0
        if fault in ("429", "5xx", "hang"):
            self.fail(fault, form)
            return
        state.tokens += 10 + state.words + 3
        if state.delay:
            state.under_way += 1
            asyncio.get_running_loop().call_later(state.delay, self.end, prompt, fault, form, True)
        else:
            self.end(prompt, fault, form, False)

    def end(self, prompt: str, fault: str, form: int, waited: bool) -> None:
        self.state.under_way -= waited
        if self.transport.is_closing():
            return
        if fault == "garbage":
            self.reply(200, _GARBAGE[form % 3])
            return
        data = _completion(prompt, self.state.words)
        if fault == "cut":
            self.reply(200, data[: len(data) // 2], size=len(data))
            self.transport.close()
            return
        self.reply(200, data)
        self.state.answered[prompt] += 1

    def fail(self, fault: str, form: int) -> None:
        if fault == "5xx":
            self.reply((500, 502, 503)[form % 3], b'{"error": {"message": "oops"}}')
        elif fault == "429":
            date = email.utils.formatdate(time.time(), usegmt=True)
            header = ("", "Retry-After: 0\r\n", f"Retry-After: {date}\r\n")[form % 3]
            self.reply(429, b'{"error": {"message": "slow down"}}', header)

    def reply(self, status: int, data: bytes, header: str = "", size: int | None = None) -> None:
        head = (
            f"HTTP/1.1 {status} {_STATUS.get(status, 'Error')}\r\n{header}"
            f"Content-Type: application/json\r\nContent-Length: {size or len(data)}\r\n\r\n"
        )
        self.transport.write(head.encode() + data)


@contextlib.contextmanager
def load_server(
    *,
    delay: float = 0.0,
    faults: dict[str, float] | None = None,
    most: int = 0,
    words: int = 100,
) -> Iterator[LoadServer]:
    """Serve while the block runs.

    Args:
        delay: seconds before a good answer.
        faults: shares, as in `FAULTS`.
        most: more requests than this under way are answered with 429; 0 takes any number.
        words: of an answer.
    """
    command = [sys.executable, "-m", "tests.fakes.load", "--delay", str(delay), "--most", str(most)]
    command += ["--words", str(words), "--faults", json.dumps(faults or {})]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield LoadServer(server.stdout.readline().strip())
        finally:
            server.terminate()


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--faults", type=json.loads, default={})
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("--words", type=int, default=100)
    arguments = parser.parse_args()
    state = _State(arguments.delay, arguments.faults, arguments.most, arguments.words)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(state), "127.0.0.1", arguments.port, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
