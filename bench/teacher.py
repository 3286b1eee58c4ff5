"""teacher-gen against bare loops, its memory as rows grow, its start on a million kept answers.

python -m bench.teacher [throughput] [memory] [resume]
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import soda
from bench.http_stack import bare_loop
from bench.measure import Taken, in_child, table
from soda.endpoint.answer import Received
from soda.endpoint.request import Request
from soda.stage import load_stage
from soda.stages.teacher_gen import TeacherGenConfig
from tests.fakes.faulty_teacher import Server, faulty_teacher
from tests.fakes.teacher import completion

__all__ = ["config", "generate", "make_prompts"]


def make_prompts(root: Path, count: int) -> soda.Prompts:
    """Make an artifact of so many short prompts."""
    with (root / "data.jsonl").open("w") as file:
        file.writelines(f'{{"prompt": "Say {number}."}}\n' for number in range(count))
    config = {"dataset": str(root / "data.jsonl"), "validation_share": 0.0, "test_share": 0.0}
    return soda.run("prepare-prompts", inputs={}, config=config, out=root / "prompts")


def config(server: Server, **limits: Any) -> dict[str, Any]:
    """Return a config that asks the server."""
    return {"base_url": server.url, "model": "fake-1", "probe": False, "limits": limits}


def generate(prompts: soda.Prompts, out: Path, values: dict[str, Any]) -> Taken:
    """Run teacher-gen in a process of its own."""
    load_stage("teacher-gen")

    def work() -> float:
        begin = time.perf_counter()
        soda.run("teacher-gen", inputs={"prompts": prompts.path}, config=values, out=out)
        return time.perf_counter() - begin

    return in_child(work)


def throughput() -> None:
    """Requests a second beside bare loops, at fixed numbers under way."""
    rows = []
    for delay, under_way, count in (
        (0.002, 1, 1500),
        (0.002, 16, 6000),
        (0.002, 128, 8000),
        (0.2, 16, 800),
        (0.2, 128, 6000),
        (0.2, 1000, 20000),
    ):
        with tempfile.TemporaryDirectory() as folder, faulty_teacher(delay=delay) as server:
            prompts = make_prompts(Path(folder), count)
            few = min(count, 1500)  # httpx slows down with the number under way
            httpx = bare_loop("httpx", server.url, few, under_way)
            aiohttp = bare_loop("aiohttp", server.url, count, under_way)
            mine = generate(prompts, Path(folder) / "out", config(server, concurrency=under_way))
        runs = ((few, httpx), (count, aiohttp), (count, mine))
        rates = [number / taken.result for number, taken in runs]
        spent = [taken.cpu_seconds / number * 1e6 for number, taken in runs]
        rows.append(
            [
                f"{delay * 1000:.0f} ms, {under_way}",
                *(f"{rate:.0f}" for rate in rates),
                f"{rates[2] / rates[0]:.2f}",
                *(f"{value:.0f}" for value in spent),
                f"{mine.peak_mib:.0f}",
            ]
        )
    head = ["answer after, under way", "httpx/s", "aiohttp/s", "teacher-gen/s", "to httpx"]
    table([*head, "CPU us: httpx", "aiohttp", "teacher-gen", "peak MiB"], rows)


def memory() -> None:
    """Peak memory at ten and two hundred thousand rows, and CPU for each."""
    rows = []
    for count in (10_000, 50_000, 200_000):
        with tempfile.TemporaryDirectory() as folder, faulty_teacher(delay=0.01) as server:
            prompts = make_prompts(Path(folder), count)
            taken = generate(prompts, Path(folder) / "out", config(server, concurrency=64))
        rate, spent = count / taken.result, taken.cpu_seconds / count * 1e6
        rows.append([f"{count:,}", f"{rate:.0f}", f"{spent:.0f}", f"{taken.peak_mib:.0f}"])
    table(["rows", "requests/s", "CPU us a row", "peak MiB"], rows)


def resume(count: int = 1_000_000) -> None:
    """A journal with all answers but the last ten: how soon is the first request sent?"""
    with tempfile.TemporaryDirectory() as folder, faulty_teacher() as server:
        root = Path(folder)
        prompts = make_prompts(root, count)
        values = TeacherGenConfig.parse(config(server))
        journal = root / ".soda" / "journal" / "teacher-gen" / values.teacher()
        journal.mkdir(parents=True)
        _, _, answer = completion("word " * 200)
        received = Received(200, json.dumps(answer), 0.5).to_json()
        with (journal / "00000-before.jsonl").open("w") as file:
            for number, row in enumerate(prompts.rows()):
                if number < count - 10:
                    body = {**values.body(), "messages": row.messages}
                    key = Request.of(values.where(), body).key
                    file.write(f'{{"key": "{key}", "sent": 1}}\n')
                    file.write(f'{{"key": "{key}", "received": {json.dumps(received)}}}\n')
        size = (journal / "00000-before.jsonl").stat().st_size

        def first_request(**limits: Any) -> Taken:
            from soda.storage import Place
            from soda.teacher.supplied import Supplied

            def work() -> list[float]:
                from soda.stages.teacher_gen import open_job

                begin = time.perf_counter()
                with (
                    contextlib.closing(Supplied(None)) as supplied,
                    open_job(prompts, values, supplied, out) as job,
                ):
                    opened = time.perf_counter() - begin
                    next(one for one in job._unanswered() if one is not None)
                    return [opened, time.perf_counter() - begin]

            out = Place.of(root / "out")
            assert out.store().folder == root / ".soda"
            return in_child(work)

        taken = first_request()
        whole = generate(prompts, root / "out", config(server))
        table(
            ["kept answers", "journal", "opened", "first of the missing found", "peak MiB"],
            [
                [
                    f"{count - 10:,}",
                    f"{size / 1e9:.1f} GB",
                    f"{taken.result[0]:.1f} s",
                    f"{taken.result[1]:.1f} s",
                    f"{taken.peak_mib:.0f}",
                ]
            ],
        )
        print(
            f"\nthe whole stage then, artifact written: {whole.result:.0f} s, "
            f"peak {whole.peak_mib:.0f} MiB"
        )


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["throughput", "memory", "resume"]
    for name in chosen:
        {"throughput": throughput, "memory": memory, "resume": resume}[name]()
        print()
