"""soda's teacher-gen, curator and distilabel: the same prompts, the same server, the same faults.

python -m bench.compare_teacher [healthy] [faults] [kill] --curator PYTHON --distilabel PYTHON

A tool without a python is skipped. PYTHON is one that has the tool installed:
python -m venv c && c/bin/pip install bespokelabs-curator
python -m venv d && d/bin/pip install 'distilabel[openai]' requests
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import table
from bench.watched import Watched, watch
from tests.fakes.faulty_teacher import FAULTS, Server, answer_text, faulty_teacher

__all__ = ["Run", "Tool", "faults", "healthy", "kill"]

UNDER_WAY, DELAY, TIMEOUT, RETRIES = 64, 0.02, 3, 10
_PACKAGES = {"soda": "soda-distill", "curator": "bespokelabs-curator", "distilabel": "distilabel"}


@dataclass(frozen=True)
class Tool:
    """One of the tools, and the python that has it."""

    name: str
    python: str

    def version(self) -> str:
        """Return the version that its python has."""
        code = f"from importlib.metadata import version; print(version({_PACKAGES[self.name]!r}))"
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def command(self, url: str, prompts: Path, work: Path) -> list[str]:
        """Return the command that asks every prompt; given again it goes on where it was."""
        if self.name == "soda":
            return _soda(self.python, url, prompts, work)
        options = {"url": url, "prompts": str(prompts), "work": str(work)}
        options |= {"concurrency": UNDER_WAY, "timeout": TIMEOUT, "retries": RETRIES}
        driver = Path(__file__).parent / "drivers" / f"{self.name}_run.py"
        return [self.python, str(driver), json.dumps(options)]

    def rows(self, work: Path) -> dict[str, str | None]:
        """Return the text that came out for each prompt, None for a row without one."""
        path = work / ("out/responses.jsonl" if self.name == "soda" else "rows.jsonl")
        if not path.exists():
            return {}
        with path.open() as file:
            rows = [json.loads(line) for line in file]
        if self.name == "soda":
            return {row["prompt"]["messages"][-1]["content"]: row["text"] for row in rows}
        return {row["prompt"]: row["text"] for row in rows}


def _soda(python: str, url: str, prompts: Path, work: Path) -> list[str]:
    artifact = work / "prompts"
    if not artifact.exists():
        make = [python, "-m", "soda", "prepare-prompts", "--set", f"dataset={prompts}"]
        subprocess.run([*make, "--out", str(artifact)], check=True, capture_output=True)
    values = {
        "base_url": url,
        "model": "fake-1",
        "limits": json.dumps({"concurrency": UNDER_WAY, "timeout_seconds": TIMEOUT}),
    }
    command = [python, "-m", "soda", "teacher-gen", "--prompts", str(artifact)]
    for name, value in values.items():
        command += ["--set", f"{name}={value}"]
    return [*command, "--out", str(work / "out")]


@dataclass(frozen=True)
class Run:
    """A server, a folder and a tool that is pointed at them."""

    tool: Tool
    server: Server
    work: Path
    prompts: Path
    limit_seconds: float

    def go(self, stop: Callable[[], bool] | None = None) -> Watched:
        """Run the tool's command once."""
        command = self.tool.command(self.server.url, self.prompts, self.work)
        log = self.work / "output.log"
        return watch(command, log=log, limit_seconds=self.limit_seconds, stop=stop)

    def right(self) -> int:
        """Count the rows that hold the answer to their own prompt."""
        rows = self.tool.rows(self.work)
        return sum(text == answer_text(prompt) for prompt, text in rows.items())

    def ours(self, counted: dict[str, int]) -> dict[str, int]:
        """Leave out what a tool asks beside the prompts."""
        with self.prompts.open() as file:
            return {
                prompt: counted[prompt]
                for prompt in (json.loads(line)["prompt"] for line in file)
                if counted.get(prompt)
            }

    def events(self) -> list[dict[str, Any]]:
        """Return the server's log."""
        self.server.get("/counts")
        with (self.work / "server.jsonl").open() as file:
            return [json.loads(line) for line in file]


@contextmanager
def _run(tool: Tool, count: int, limit_seconds: float, given: dict[str, float] | None = None):
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prompts = work / "data.jsonl"
        lines = [json.dumps({"prompt": f"Say {number}."}) + "\n" for number in range(count)]
        prompts.write_text("".join(lines))
        with faulty_teacher(delay=DELAY, faults=given, log=work / "server.jsonl") as server:
            yield Run(tool, server, work, prompts, limit_seconds)


def healthy(tools: list[Tool], count: int, limit_seconds: float) -> None:
    """No faults: what the tool itself costs."""
    rows = []
    for tool in tools:
        with _run(tool, UNDER_WAY, limit_seconds) as run:
            start = run.go()
        with _run(tool, count, limit_seconds) as run:
            taken = run.go()
            right, events = run.right(), run.events()
        asked = [one["time"] for one in events if one["event"] == "asked"]
        spent = (taken.cpu_seconds - start.cpu_seconds) / (count - UNDER_WAY) * 1000
        rows.append(
            [
                tool.name,
                f"{taken.seconds:.1f}" + ("" if taken.ended == "well" else f" ({taken.ended})"),
                f"{asked[0] - taken.began:.1f}",
                f"{count / (events[-1]['time'] - asked[0]):.0f}",
                f"{taken.cpu_seconds / count * 1000:.2f}",
                f"{spent:.2f}",
                f"{taken.peak_mib:.0f}",
                right,
            ]
        )
    head = ["healthy", "wall s", "first request after s", "requests/s then"]
    head += ["CPU ms a request", "without the start", "peak MiB", "rows right"]
    table(head, rows)


def faults(tools: list[Tool], count: int, limit_seconds: float) -> None:
    """Faults of all kinds: what comes out, and what is paid for it."""
    rows = []
    for tool in tools:
        with _run(tool, count, limit_seconds, FAULTS) as run:
            taken = run.go()
            asked, answered = run.ours(run.server.asked()), run.ours(run.server.answered())
            right, kept = run.right(), len(run.tool.rows(run.work))
            tokens = run.server.usage()["completion_tokens"]
        rows.append(
            [
                tool.name,
                taken.ended,
                f"{taken.seconds:.1f}",
                right,
                count - right,
                kept,
                sum(asked.values()),
                sum(answered.values()) - len(answered),
                len(answered) - right,
                f"{tokens / 100 / count:.2f}",
            ]
        )
    head = ["faults", "ended", "wall s", "rows right", "rows lost", "rows written", "requests"]
    head += ["answered again", "answered and lost", "completions billed a prompt"]
    table(head, rows)


def kill(tools: list[Tool], count: int, limit_seconds: float) -> None:
    """kill -9 when half is answered, then the same command again."""
    rows = []
    for tool in tools:
        with _run(tool, count, limit_seconds) as run:
            killed = run.go(lambda run=run: len(run.ours(run.server.answered())) >= count // 2)
            before = run.ours(run.server.answered())
            resumed = run.go()
            right = run.right()
            after = [
                one
                for one in run.events()
                if one["event"] == "asked" and one["time"] > resumed.began
            ]
        again = {one["prompt"] for one in after} & set(before)
        new = [one["time"] for one in after if one["prompt"] not in before]
        rows.append(
            [
                tool.name,
                f"{killed.ended} after {killed.seconds:.1f} s",
                len(before),
                f"{new[0] - resumed.began:.1f}" if new else "none",
                len(again),
                f"{resumed.ended}, {resumed.seconds:.1f} s",
                right,
            ]
        )
    head = ["kill -9", "first run", "answered before", "first new request after s"]
    head += ["asked again", "second run", "rows right"]
    table(head, rows)


def main() -> None:
    """Print a table for each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"healthy": healthy, "faults": faults, "kill": kill}
    parser.add_argument("parts", nargs="*", help="healthy, faults, kill; all if none is named")
    parser.add_argument("--soda", default=sys.executable, help="'' leaves it out")
    parser.add_argument("--curator", default="")
    parser.add_argument("--distilabel", default="")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--limit-seconds", type=float, default=180, help="for one run of one tool")
    options = parser.parse_args()
    tools = []
    for name in _PACKAGES:
        if python := getattr(options, name):
            tools.append(Tool(name, python))
            print(f"{name} {tools[-1].version()}")
        else:
            print(f"{name}: skipped, as --{name} names no python")
    for part in options.parts or parts:
        print()
        parts[part](tools, options.count, options.limit_seconds)


if __name__ == "__main__":
    main()
