"""Let a judge compare the trained student with the base, the champion and other students."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from soda.artifacts.kinds import Report
from soda.artifacts.writer import LOGS, Writer
from soda.config import Config
from soda.endpoint.budget import Price
from soda.endpoint.job import Rules
from soda.endpoint.limits import Limits
from soda.errors import DataError, StorageError
from soda.evaluation.metrics import MODELS
from soda.evaluation.report import render_html, render_markdown
from soda.judging.judges import same_family
from soda.judging.model import JudgeModel, named_judge
from soda.judging.verdict_on_student import Opponent, compare_with, measure_judge
from soda.judging.verdicts import Matchup
from soda.progress import say
from soda.registry.registry import Registry
from soda.rows import digest
from soda.slices import slices_of
from soda.storage import Place

__all__ = ["JudgeConfig", "judge"]

_KEYS = {"base": "before", "warmed": "warmed", "teacher": "teacher"}  # of a sample's answers


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
    """Judge the trained student's held-out answers against others' answers to the same prompts.

    Each pair is shown in both orders; a disagreement is a tie. The report that is made is the given
    one with win rates, length-controlled win rates and, of scores, S / (S + R), each with its
    interval; the judge's biases stand beside them. Without a judge, verifiers compare the answers
    to checkable prompts. A judge's key is read from SODA_JUDGE_API_KEY.

    Raises:
        DataError: another report has none of the same prompts.
    """
    samples = list(report.read_rows(Report.SAMPLES))
    figures = report.figures()
    opponents = _opponents(report, figures, config)
    opened = named_judge(
        config.judge,
        out.store(),
        stage=config.stage(),
        share=digest([report.digest, config.stage()]),
        rules=Rules(config.price, config.limits),
    )
    with Report.create(out, config=config, inputs={"report": report}) as writer:
        with opened as (asked, account):
            found: dict[str, Any] = {}
            for name, opponent in opponents.items():
                matchups = [
                    _matchup(row, opponent.answers[row["id"]])
                    for row in samples
                    if row["id"] in opponent.answers
                ]
                found[name], verdicts = compare_with(
                    opponent, matchups, asked, samples=config.bootstrap_samples, seed=config.seed
                )
                for verdict in verdicts:
                    writer.write("verdicts.jsonl", {"opponent": name, **verdict.to_json()})
                _mark(samples, opponent.title, {each.id: each.score for each in verdicts})
                say(f"judge: {found[name]['said']}")
            biases = measure_judge(
                asked,
                [_matchup(row, "") for row in samples],
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
        }
        writer.account.update(judge=account())
        writer.facts["eval"] = {"config": report.eval_config, "inputs": report.eval_inputs}
        _write(writer, report, figures, samples)
    return Report.open(out)


def _opponents(
    report: Report, figures: Mapping[str, Any], config: JudgeConfig
) -> dict[str, Opponent]:
    """Return whom the student is compared with, in the config's order."""
    found: dict[str, Opponent] = {}
    metrics = figures["metrics"]
    for name in config.opponents:
        if name != "champion" and (name == "teacher" or _KEYS[name] in figures["models"]):
            key = _KEYS[name]
            answers = {row["id"]: row[key] for row in report.read_rows(Report.SAMPLES)}
            change = {"base": "change", "warmed": "change_since_warm_up"}.get(name, "")
            changes = {
                each: {"mean": metric[change]["mean"], "better": metric["better"]}
                for each, metric in metrics.items()
                if change in metric
            }
            found[name] = Opponent(MODELS.get(key, name), answers, changes, "")
    others = {name: Report.open(place) for name, place in config.others.items()}
    champion = config.champion()
    if champion is not None:
        others["champion"] = champion
    elif "champion" in config.opponents and config.registry:
        say(f"judge: {config.name} has no champion yet")
    for other_name, other in others.items():
        found[other_name] = _other(other_name, other, report, figures)
    return found


def _other(name: str, other: Report, report: Report, figures: Mapping[str, Any]) -> Opponent:
    asked = {row["id"]: row["prompt"] for row in report.read_rows(Report.SAMPLES)}
    answers = {
        row["id"]: row["after"]
        for row in other.read_rows(Report.SAMPLES)
        if asked.get(row["id"]) == row["prompt"]
    }
    if not answers:
        raise DataError(f"{other.path}: expected answers to the same prompts, found none ({name})")
    if len(answers) < len(asked):
        say(f"judge: {name} has answers to {len(answers)} of {len(asked)} prompts")
    theirs = other.figures()["metrics"]
    changes = {
        each: {
            "mean": metric["after"]["mean"] - theirs[each]["after"]["mean"],
            "better": metric["better"],
        }
        for each, metric in figures["metrics"].items()
        if each in theirs
    }
    return Opponent(name, answers, changes, other.digest)


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
