"""Put a model into the registry; it becomes the champion if its report is good enough."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from soda import storage
from soda.artifacts.kinds import Model, Registration, Report
from soda.config import Config, Group
from soda.errors import ConfigError
from soda.escape import has_secrets, hide_secrets
from soda.progress import say
from soda.registry.complete import check_complete
from soda.registry.gate import Change, decide_promotion
from soda.registry.model_card import render_card
from soda.registry.provenance import FILE, SIGNED, make_statement, sign
from soda.registry.registry import Registry
from soda.registry.version import PUBLISHERS, Version
from soda.statistics.intervals import Estimate
from soda.storage import Place

__all__ = ["Gate", "RegisterConfig", "register"]

_CHECK = re.compile(r"\s*([\w.]+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*")
_COMPARE = {
    ">=": float.__ge__,
    "<=": float.__le__,
    ">": float.__gt__,
    "<": float.__lt__,
}


class Gate(Group):
    """What a judge has to say before a model becomes the champion."""

    margin: float = Field(
        default=0.0, ge=0, lt=0.5, description="0.02: the win rate's lower end is above 0.52"
    )
    allowances: dict[str, float] = Field(
        default={}, description="how far guarded metrics may fall: {exact_match: 0.02}"
    )


class RegisterConfig(Config):
    """Under which name, where, and what a champion must have shown."""

    aside: ClassVar[tuple[str, ...]] = ("registry", *PUBLISHERS)

    name: str = Field(description="the model's name in the registry")
    teacher_licence: str = Field(
        description="the terms of the teacher's answers: an SPDX name, or an address"
    )
    registry: str = Field("registry", description="the registry's folder or bucket")
    model_registry: str = Field(
        "", description="address of a Kubeflow Model Registry that is told of every version"
    )
    mlflow: str = Field("", description="address of an MLflow server that is told of every version")
    hub: str = Field("", description="a Hugging Face repository that every version is pushed to")
    gate: Gate | None = Field(
        None, description="the judge's win rate over the champion, or over the base without one"
    )
    champion_if: list[str] = Field(
        [],
        description="checks on the report's metrics, all of which a champion passes, such as "
        "'rouge_l.change.low > 0'; none: every model becomes the champion",
    )

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            raise ValueError(f"expected letters, digits, '.', '_' and '-', found '{name}'")
        return name

    @field_validator("registry", *PUBLISHERS)
    @classmethod
    def _no_secrets(cls, address: str) -> str:
        if has_secrets(address):  # it stands in the manifest and in messages
            raise ValueError(
                "expected an address without a user, password or key, found "
                f"'{hide_secrets(address)}' with one; tokens come from the environment"
            )
        return address

    @field_validator("teacher_licence")
    @classmethod
    def _some_licence(cls, licence: str) -> str:
        if not licence.strip():
            raise ValueError("expected a licence's name or address, found nothing")
        return licence.strip()

    @field_validator("champion_if")
    @classmethod
    def _checks(cls, checks: list[str]) -> list[str]:
        for check in checks:
            if not _CHECK.fullmatch(check):
                raise ValueError(f"expected 'metric.change.low > 0' or the like, found '{check}'")
        return checks


def register(*, model: Model, report: Report, config: RegisterConfig, out: Place) -> Registration:
    """Register a model as a new version with card, report and lineage; crown it if it passes.

    A version is immutable, and the same model is registered once: a second time is no change. The
    alias `champion` moves only if the report passes every check of champion_if and the gate. With
    SODA_SIGNING_KEY, an Ed25519 key in PEM, its provenance is signed.

    Raises:
        RegistryError: too little is known of the model, or another registry refused it.
    """
    figures = report.figures()
    registry = Registry(config.registry)
    champion = registry.alias(config.name, "champion")
    failed = [check for check in config.champion_if if not _passes(check, figures)]
    failed += _gate(config, figures, registry, champion)
    lineage = _lineage(model, report, figures, config)
    check_complete(lineage, figures)
    card = render_card(lineage, figures)
    statement = make_statement(lineage, model.manifest.files, os.environ)
    files = {FILE: json.dumps(statement, indent=2, sort_keys=True).encode()}
    signed = sign(statement)
    if signed is not None:
        files[SIGNED] = json.dumps(signed).encode()
    inputs = {"model": model, "report": report}
    with Registration.create(out, config=config, inputs=inputs) as writer:
        with storage.explain_os_errors():
            version = registry.add(
                config.name,
                lineage,
                folders={"model": model.path, "report": report.path},
                card=card,
                files=files,
            )
            if not failed:
                registry.move_alias(config.name, "champion", version, seen=champion)
            crowned = registry.alias(config.name, "champion") == version
            place = registry.place_of(config.name, version)
            made = Version(config.name, version, place, model.path, card, lineage, crowned)
            published = {
                key: publish(address, made)
                for key, publish in PUBLISHERS.items()
                if (address := getattr(config, key))
            }
        facts: dict[str, Any] = {
            "name": config.name,
            "version": version,
            "champion": crowned,
            "failed_checks": failed,
        }
        text = json.dumps(facts, indent=2)
        (writer.path / Registration.FILE).write_text(text, encoding="utf-8")
        (writer.path / Registration.CARD).write_text(card, encoding="utf-8")
        writer.facts.update(facts)
        writer.account.update(published=published)
    return Registration.open(out)


def _lineage(
    model: Model, report: Report, figures: Mapping[str, Any], config: RegisterConfig
) -> dict[str, Any]:
    """Return what a version was made of."""
    teacher = {**figures["teacher"], "licence": config.teacher_licence}
    return {
        "name": config.name,
        "model_digest": model.digest,
        "weights_digest": model.weights_digest,
        "report_digest": report.digest,
        "soda": model.manifest.soda,
        "teacher": {**teacher, "fingerprint": report.log("teacher")},
        "trainings": model.trainings,
        "weights": figures["weights"],
        "train_config": model.manifest.config,
        "eval_config": report.eval_config,
        "inputs": {"train": model.manifest.inputs, "eval": report.eval_inputs},
    }


def _gate(
    config: RegisterConfig, figures: Mapping[str, Any], registry: Registry, champion: int | None
) -> list[str]:
    """Return the judge's reasons against a new champion."""
    if config.gate is None:
        return []
    name = "base" if champion is None else "champion"
    judged = figures.get("judge", {}).get("opponents", {}).get(name)
    if judged is None:
        return [f"gate: expected a judge's win rate over the {name}, found none"]
    if champion is not None:
        digest = registry.lineage(config.name, champion)["report_digest"]
        if judged["digest"] != digest:
            return ["gate: expected a win rate over the champion, found one over an earlier one"]
    rate = judged["win_rate"]
    if rate["mean"] is None:
        return [f"gate: expected a win rate over the {name}, found {judged['said']}"]
    decided = decide_promotion(
        Estimate(**rate),
        {key: Change(one["mean"], one["better"]) for key, one in judged["changes"].items()},
        margin=config.gate.margin,
        allowances=config.gate.allowances,
    )
    say(
        f"register: {judged['said']}; a model better by 5 points passes such a measurement in "
        f"{decided.power:.0%} of cases"
    )
    return [f"gate: {reason}" for reason in decided.reasons]


def _passes(check: str, figures: dict[str, Any]) -> bool:
    """Compare one figure of the report with a number."""
    found = _CHECK.fullmatch(check)
    assert found, "the config has checked it"
    path, operator, number = found.groups()
    judged = figures.get("judge", {}).get("opponents", {})
    value: Any = {**figures["metrics"], "lm_eval": figures["lm_eval"], "judge": judged}
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            value = None
            break
        value = value[part]
    if not isinstance(value, int | float):
        raise ConfigError(
            f"register.champion_if: expected a figure of the report, found '{path}'; known: "
            f"{', '.join(figures['metrics'])}, each with before, after, change; mean, low, high"
        )
    return bool(_COMPARE[operator](float(value), float(number)))
