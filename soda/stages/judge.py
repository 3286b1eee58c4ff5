"""Let a judge compare the trained student with the base, the champion and other students."""

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from soda.artifacts.kinds import Report
from soda.artifacts.writer import LOGS, Writer
from soda.config import Config
from soda.endpoint.budget import Price
from soda.endpoint.limits import Limits
from soda.errors import StorageError
from soda.evaluation.report import render_html, render_markdown
from soda.judging.judges import ChatJudge, same_family
from soda.judging.model import JudgeModel, judge_of
from soda.judging.opponents import STUDENT, Opponent, opponent_in, opponents_of, scored
from soda.judging.rates import by_set, relative_scores
from soda.judging.references import REFERENCE, ask_references
from soda.judging.verdict_on_student import compare_with, judge_matchups, measure_judge
from soda.judging.verdicts import Matchup, Verdict
from soda.progress import say
from soda.registry.registry import Registry
from soda.slices import slices_of
from soda.storage import Place

__all__ = ["JudgeConfig", "judge"]

_TAKEN = {"base", "warmed", "teacher", "champion", STUDENT, REFERENCE}  # names of others


class JudgeConfig(Config):
    """Who judges, and whom the student is compared with."""

    aside: ClassVar[tuple[str, ...]] = ("price", "limits", "registry", "name", "others")

    judge: JudgeModel = Field(
        JudgeModel(), description="who compares the answers; its key is in SODA_JUDGE_API_KEY"
    )
    opponents: list[Literal["base", "warmed", "teacher", "champion"]] = Field(
        ["base", "warmed", "champion"], description="those that the report or the registry has"
    )
    registry: str = Field("", description="the registry whose champion is one of them")
    name: str = Field("", description="the model's name there")
    champion_digest: str = Field("", description="of the champion's report; filled in")
    others: dict[str, str] = Field(
        {}, description="more reports on the same prompts by name: {seqkd: runs/seqkd/report}"
    )
    others_digests: dict[str, str] = Field({}, description="of those; filled in")
    bootstrap_samples: int = Field(2000, ge=100)
    seed: int = 0
    price: Price = Field(Price(), description="USD per million tokens of the judge")
    limits: Limits = Field(Limits(), description="as of teacher-gen; usd is for this stage")

    @field_validator("others")
    @classmethod
    def _others_have_names_of_their_own(cls, others: dict[str, str]) -> dict[str, str]:
        if taken := _TAKEN & others.keys():
            raise ValueError(f"expected names of their own, found '{min(taken)}'")
        return others

    def pin(self) -> Self:
        """Write the judge from the environment, and which reports are meant, into it."""
        champion = None
        with contextlib.suppress(StorageError):  # out of reach where a run is only prepared
            champion = self.champion()
        values = self.model_dump()
        values["judge"] = self.judge.pinned()
        values["champion_digest"] = champion.digest if champion else ""
        values["others_digests"] = {
            name: Report.open(place).digest for name, place in self.others.items()
        }
        return type(self).model_validate(values)

    def deciding(self) -> dict[str, Any]:
        """Return the values that decide the result."""
        return {**super().deciding(), "judge": self.judge.deciding()}

    def champion(self) -> Report | None:
        """Return the champion's report, if it is asked for and there is one."""
        if "champion" not in self.opponents or not (self.registry and self.name):
            return None
        registry = Registry(self.registry)
        version = registry.alias(self.name, "champion")
        if version is None:
            return None
        return Report.open(registry.place_of(self.name, version) / "report")


def judge(*, report: Report, config: JudgeConfig, out: Place) -> Report:
    """Judge the trained student's answers against others' answers to the same prompts, set by set.

    Each pair is shown in both orders; a disagreement is a tie. The report that is made is the given
    one with win rates and length-controlled win rates, on the held-out split and on each task set;
    the judge's biases stand beside them. With the protocol `scores` a chat model also answers each
    prompt itself, once, and scores every model's answer beside its own: S / (S + R), as in SODA's
    Table 1. Without a judge, verifiers compare the answers to checkable prompts. A judge's key is
    read from SODA_JUDGE_API_KEY.

    Raises:
        DataError: another report has none of the same prompts.
    """
    samples = list(report.read_rows(Report.SAMPLES))
    figures = report.figures()
    opponents = _opponents(samples, figures, config)
    bootstrap = {"samples": config.bootstrap_samples, "seed": config.seed}
    sets = {row["id"]: row["set"] for row in samples}
    with Report.create(out, config=config, inputs={"report": report}) as writer:
        scores = None
        with judge_of(config, report, out) as (asked, account):
            found: dict[str, Any] = {}
            for name, opponent in opponents.items():
                matchups = [
                    _matchup(row, opponent.answers[row["id"]])
                    for row in samples
                    if row["id"] in opponent.answers
                ]
                verdicts = judge_matchups(matchups, asked)
                found[name] = compare_with(opponent, by_set(verdicts, sets), **bootstrap)
                _keep(writer, verdicts, sets, candidate=STUDENT, opponent=name)
                _mark(samples, opponent.title, {each.id: each.score for each in verdicts})
                say(f"judge: {found[name]['said']}")
            if isinstance(asked, ChatJudge) and config.judge.protocol == "scores":
                scores = _scores(writer, samples, scored(samples, opponents), asked, config)
            biases = measure_judge(
                asked,
                [_matchup(row, "") for row in samples if row["set"] == figures["split"]],
                count=config.judge.calibration,
                seed=config.seed,
            )
        teacher = str(figures["teacher"]["model"])
        figures["judge"] = {
            "name": asked.name if asked else "verifier",
            "protocol": config.judge.protocol if asked else "right or wrong",
            "biases": [bias.to_json() for bias in biases],
            "same_family": bool(asked and same_family(asked.name, teacher)),
            "opponents": found,
            "scores": scores,
        }
        writer.account.update(judge=account())
        writer.facts["eval"] = {"config": report.eval_config, "inputs": report.eval_inputs}
        _write(writer, report, figures, samples)
    return Report.open(out)


def _opponents(
    samples: list[dict[str, Any]], figures: Mapping[str, Any], config: JudgeConfig
) -> dict[str, Opponent]:
    """Return whom the student is compared with: its report's own, others, the champion."""
    others = {name: Report.open(place) for name, place in config.others.items()}
    champion = config.champion()
    if champion is not None:
        others["champion"] = champion
    elif "champion" in config.opponents and config.registry:
        say(f"judge: {config.name} has no champion yet")
    found = opponents_of(samples, figures, config.opponents)
    for name, other in others.items():
        found[name] = opponent_in(name, other, samples, figures)
    return found


def _scores(
    writer: Writer,
    samples: list[dict[str, Any]],
    models: Mapping[str, Opponent],
    judge: ChatJudge,
    config: JudgeConfig,
) -> dict[str, Any]:
    """Return every model's score beside the judge's own answers, by set."""
    sets = {row["id"]: row["set"] for row in samples}
    references = ask_references(judge, samples)
    if missing := len(samples) - len(references.answers):
        say(f"judge: {judge.name} has no answer of its own to {missing} of {len(samples)} prompts")
    found = {}
    for name, model in models.items():
        verdicts = references.score(samples, model.answers)
        _keep(writer, verdicts, sets, candidate=name, opponent=REFERENCE)
        found[name] = {
            "title": model.title,
            "sets": {
                each: relative_scores([of], samples=config.bootstrap_samples, seed=config.seed)
                for each, of in by_set(verdicts, sets).items()
            },
        }
    for row in samples:
        row["judge_answer"] = references.answers.get(row["id"])
    return {"references": references.outcomes, "models": found}


def _keep(
    writer: Writer, verdicts: Iterable[Verdict], sets: Mapping[str, str], **between: str
) -> None:
    for verdict in verdicts:
        row = {**between, "set": sets[verdict.id], **verdict.to_json()}
        writer.write(Report.VERDICTS, row)


def _matchup(row: Mapping[str, Any], theirs: str) -> Matchup:
    wanted = row["expected"]
    check = None if wanted is None else {"kind": "expected", "expected": wanted}
    slices = slices_of(row["prompt"], wanted)
    return Matchup(row["id"], row["prompt"], row["after"], theirs, check, slices)


def _mark(samples: list[dict[str, Any]], title: str, scores: Mapping[str, float | None]) -> None:
    for row in samples:
        if scores.get(row["id"]) is not None:
            row.setdefault("judged", {})[title] = scores[row["id"]]


def _write(
    writer: Writer, report: Report, figures: dict[str, Any], samples: list[dict[str, Any]]
) -> None:
    for sample in samples:
        writer.write(Report.SAMPLES, sample)
    files = {
        Report.FIGURES: json.dumps(figures, indent=2, allow_nan=False),
        Report.CHARTS: json.dumps(report.charts()),
        Report.TABLE: render_markdown(figures),
        Report.PAGE: render_html(figures, samples, report.charts()),
    }
    for name, text in files.items():
        (writer.path / name).write_text(text, encoding="utf-8")
    if Report.SCORES in report.manifest.files:
        shutil.copyfile(report.path / Report.SCORES, writer.path / Report.SCORES)
    (writer.path / LOGS).mkdir()
    for name in ("teacher", "cost"):
        text = json.dumps(report.log(name))
        (writer.path / LOGS / f"{name}.json").write_text(text, encoding="utf-8")
