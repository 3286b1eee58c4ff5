"""Which HTTP library and which JSON parser: the same requests to the same server in one run.

python -m bench.http_stack [--requests 3000]
"""

import argparse
import asyncio
import importlib.util
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.measure import Taken, in_child, table
from tests.fakes.faulty_teacher import faulty_teacher

__all__ = ["bare_loop"]

BODY = {"model": "fake-1", "max_tokens": 1536, "messages": [{"role": "user", "content": ""}]}


def _body(number: int) -> dict[str, Any]:
    return {**BODY, "messages": [{"role": "user", "content": f"Say {number}."}]}


async def _all(count: int, concurrency: int, send: Callable[[int], Awaitable[Any]]) -> None:
    numbers = itertools.count()

    async def worker() -> None:
        while (number := next(numbers)) < count:
            await send(number)

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def _aiohttp(url: str, count: int, concurrency: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send(number: int) -> None:
            async with session.post(f"{url}/chat/completions", json=_body(number)) as reply:
                json.loads(await reply.read())["choices"][0]

        await _all(count, concurrency, send)


async def _httpx(url: str, count: int, concurrency: int) -> None:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def send(number: int) -> None:
            reply = await client.post(f"{url}/chat/completions", json=_body(number))
            reply.json()["choices"][0]

        await _all(count, concurrency, send)


async def _httpcore(url: str, count: int, concurrency: int) -> None:
    import httpcore

    async with httpcore.AsyncConnectionPool(
        max_connections=concurrency, max_keepalive_connections=concurrency
    ) as pool:

        async def send(number: int) -> None:
            reply = await pool.request(
                "POST",
                f"{url}/chat/completions",
                headers={"Content-Type": "application/json"},
                content=json.dumps(_body(number)).encode(),
            )
            json.loads(reply.content)["choices"][0]

        await _all(count, concurrency, send)


async def _openai(url: str, count: int, concurrency: int) -> None:
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:

        async def send(number: int) -> None:
            reply = await client.chat.completions.create(**_body(number))
            assert reply.choices[0].message.content

        await _all(count, concurrency, send)


_LOOPS = {"aiohttp": _aiohttp, "httpx": _httpx, "httpcore": _httpcore, "openai": _openai}


def bare_loop(
    library: str, url: str, count: int, concurrency: int, *, uvloop: bool = False
) -> Taken:
    """Send requests with one library and nothing else around it."""

    def work() -> float:
        loop = _LOOPS[library]
        begin = time.perf_counter()
        if uvloop:
            import uvloop as fast

            fast.run(loop(url, count, concurrency))
        else:
            asyncio.run(loop(url, count, concurrency))
        return time.perf_counter() - begin

    return in_child(work)


def _json_parsers() -> None:
    completion = {
        "id": "x",
        "choices": [{"message": {"role": "assistant", "content": "word " * 350 + '"é\n'}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 353},
    }
    text = json.dumps(completion).encode()
    rows = []
    for name in ("json", "orjson", "msgspec"):
        if importlib.util.find_spec(name) is None:
            rows.append([name, "not installed", ""])
            continue
        module: Any = __import__("msgspec.json").json if name == "msgspec" else __import__(name)
        loads = getattr(module, "loads", None) or module.decode
        dumps = getattr(module, "dumps", None) or module.encode
        spent = []
        for call, value in ((loads, text), (dumps, completion)):
            begin = time.perf_counter()
            for _ in range(20_000):
                call(value)
            spent.append(f"{(time.perf_counter() - begin) / 20_000 * 1e6:.1f}")
        rows.append([name, *spent])
    table(["JSON, a completion of 2 kB", "read, us", "write, us"], rows)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    count = parser.parse_args().requests
    kinds = [(name, False) for name in _LOOPS if importlib.util.find_spec(name)]
    if importlib.util.find_spec("uvloop"):
        kinds.append(("aiohttp", True))
    rows = []
    for delay, concurrency in ((0.002, 1), (0.002, 16), (0.002, 128), (0.2, 128), (0.2, 1000)):
        for library, uvloop in kinds:
            with faulty_teacher(delay=delay) as server:
                share = count if concurrency > 1 else count // 4
                taken = bare_loop(library, server.url, share, concurrency, uvloop=uvloop)
            rows.append(
                [
                    f"{delay * 1000:.0f} ms, {concurrency}",
                    library + (" + uvloop" if uvloop else ""),
                    f"{share / taken.result:.0f}",
                    f"{taken.cpu_seconds / share * 1e6:.0f}",
                    f"{taken.peak_mib:.0f}",
                ]
            )
    table(["answer after, under way", "library", "requests/s", "CPU us", "peak MiB"], rows)
    print()
    _json_parsers()


if __name__ == "__main__":
    main()
