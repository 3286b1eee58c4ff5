"""What teacher-gen will ask, take and cost, before it does."""

import argparse
import contextlib
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from soda.artifacts.kinds import Prompts
from soda.config import assign, parse_assignment
from soda.endpoint.budget import USD
from soda.endpoint.job import Job
from soda.errors import ConfigError
from soda.recipe import load_recipe
from soda.stages.teacher_gen import TeacherGenConfig, open_job, supplied_file
from soda.storage import Place
from soda.teacher.supplied import Supplied

__all__ = ["Measured", "Plan", "add_arguments", "make_plan", "run_command"]

_SAMPLE = 2000  # kept answers to measure on
_TOKENS_A_BYTE = 0.25  # of a prompt, where no answer has told; English text
_UNDER_WAY = 64  # an endpoint's limit is not known before it is found


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over answers that are kept."""

    answers: int
    prompt_tokens_a_byte: float
    tokens: float
    seconds: float
    text_bytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is left to ask, in requests, bytes of prompts and, at most, picodollars."""

    config: TeacherGenConfig
    prompts: int
    to_ask: int
    prompt_bytes: int
    usd: float  # spent, or possibly billed
    most_cost: int
    most_tokens: int | None  # an answer
    measured: Measured | None

    def lines(self) -> list[str]:
        """Say it to a person."""
        config, measured, count = self.config, self.measured, self.to_ask
        ratio = measured.prompt_tokens_a_byte if measured else _TOKENS_A_BYTE
        taken = self.prompt_bytes * ratio
        given = count * measured.tokens if measured else None
        way = "by the Batch API" if config.batch else "as many at once as it takes"
        told = (
            f"measured on {measured.answers} kept answers"
            if measured
            else "a quarter for each byte"
        )
        most = f"at most {self.most_tokens * count:,}" if self.most_tokens else "without a bound"
        cost = None if given is None else self._price(taken, given)
        most_cost = f"{self.most_cost / USD:,.2f} USD" if self.most_tokens else "unknown"
        cap = f"; limits.usd stops it at {config.limits.usd:g}" if config.limits.usd else ""
        size = count * measured.text_bytes if measured else None
        return [
            f"teacher  {config.model} at {config.base_url}, {way}",
            f"prompts  {self.prompts:,}: {self.prompts - count:,} answered already, "
            f"{count:,} to ask",
            f"tokens   about {taken:,.0f} in ({told}), {_about(given)} out, {most}",
            f"money    {_about(cost, ' USD', 2)}, at most {most_cost}; "
            f"spent so far {self.usd:,.2f} USD{cap}",
            f"time     {_about(self._hours(taken + (given or 0)), ' hours', 2)}",
            f"bytes    {_about(size)} of answers",
        ]

    def _price(self, taken: float, given: float) -> float:
        return self.config.price.of(round(taken), round(given), cheap=self.config.batch) / USD

    def _hours(self, tokens: float) -> float | None:
        """Return the longest of what each limit on the pace takes; a batch takes a day at most."""
        limits = self.config.limits
        if self.config.batch:
            return 24.0 if self.to_ask else 0.0
        minutes = [
            amount / ceiling
            for amount, ceiling in (
                (self.to_ask, limits.requests_per_minute),
                (tokens, limits.tokens_per_minute),
            )
            if ceiling
        ]
        if self.measured:
            under_way = min(limits.concurrency, _UNDER_WAY)
            minutes.append(self.to_ask * self.measured.seconds / under_way / 60)
        return max(minutes) / 60 if minutes else None


def _about(value: float | None, unit: str = "", digits: int = 0) -> str:
    return "unknown" if value is None else f"about {value:,.{digits}f}{unit}"


def make_plan(job: Job, config: TeacherGenConfig) -> Plan:
    """Count what is left to ask, and measure on what is kept what it will take."""
    job.recount()
    prompts = to_ask = prompt_bytes = most_cost = 0
    kept: list[tuple[int, int, int, float, int]] = []
    for request in job.work.requests():
        prompts += 1
        answer = request and job.answer(request)
        if request is not None and answer is None:
            to_ask += 1
            prompt_bytes += request.prompt_tokens
            most_cost += job.budget.most(request)
        elif request is not None and answer and answer.tokens and len(kept) < _SAMPLE:
            kept.append(
                (
                    request.prompt_tokens,
                    answer.prompt_tokens or 0,
                    answer.tokens,
                    answer.seconds,
                    len(answer.text.encode(errors="replace")),
                )
            )
    measured = None
    if kept:
        sizes, prompt_tokens, tokens, seconds, texts = (
            fmean(column) for column in zip(*kept, strict=True)
        )
        measured = Measured(len(kept), prompt_tokens / sizes, tokens, seconds, texts)
    return Plan(
        config,
        prompts,
        to_ask,
        prompt_bytes,
        usd=job.budget.usd + job.budget.usd_possibly_billed,
        most_cost=most_cost,
        most_tokens=job.budget.answer_tokens,
        measured=measured,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to its parser."""
    parser.description = (
        "Say what teacher-gen would ask, take and cost. Estimates rest on answers that the\n"
        "journal keeps; --ask asks a few more, which are kept and not asked again."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--prompts", required=True, metavar="DIR", help="artifact: prompts")
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="YAML with teacher-gen's values"
    )
    text = "one value, over the recipe; group.key=value of a group"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    parser.add_argument("--ask", type=int, default=0, metavar="N", help="ask so many prompts first")
    parser.add_argument(
        "--out", default="plan", metavar="DIR", help="where teacher-gen will write; nothing is made"
    )


def run_command(arguments: argparse.Namespace) -> int:
    """Print the plan; returns the exit code."""
    values = load_recipe(arguments.recipe).get("teacher-gen", {}) if arguments.recipe else {}
    for text in arguments.set:
        assign(values, *parse_assignment(text))
    config = TeacherGenConfig.parse(values)
    if not (config.base_url and config.model):
        raise ConfigError("plan: expected a teacher: set base_url and model, or their variables")
    if arguments.ask < 0:
        raise ConfigError(f"--ask: expected a number of prompts, found {arguments.ask}")
    prompts = Prompts.open(arguments.prompts)
    with (
        contextlib.closing(Supplied(supplied_file(config))) as supplied,
        open_job(prompts, config, supplied, Place.of(arguments.out)) as job,
    ):
        if arguments.ask:
            job.run(at_most=arguments.ask)
        print("\n".join(make_plan(job, config).lines()))
    return 0
