"""Put a model into the registry; it becomes the champion if its report is good enough."""

import json
import re
from typing import Any, ClassVar

from pydantic import Field, field_validator

from soda import storage
from soda.artifacts.kinds import Model, Registration, Report
from soda.config import Config
from soda.errors import ConfigError
from soda.escape import has_secrets, hide_secrets
from soda.registry.kubeflow import register_version
from soda.registry.model_card import render_card
from soda.registry.registry import Registry
from soda.storage import Place

__all__ = ["RegisterConfig", "register"]

_CHECK = re.compile(r"\s*([\w.]+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*")
_COMPARE = {
    ">=": float.__ge__,
    "<=": float.__le__,
    ">": float.__gt__,
    "<": float.__lt__,
}


class RegisterConfig(Config):
    """Under which name, where, and what a champion must have shown."""

    aside: ClassVar[tuple[str, ...]] = ("registry", "model_registry")

    name: str = Field(description="the model's name in the registry")
    registry: str = Field("registry", description="the registry's folder")
    model_registry: str = Field(
        "", description="address of a Kubeflow Model Registry that is told of every version"
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

    @field_validator("registry", "model_registry")
    @classmethod
    def _no_secrets(cls, address: str) -> str:
        if has_secrets(address):  # it stands in the manifest and in messages
            raise ValueError(
                "expected an address without a user, password or key, found "
                f"'{hide_secrets(address)}' with one; the token goes into SODA_MODEL_REGISTRY_TOKEN"
            )
        return address

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
    alias `champion` moves only if the report passes every check of champion_if.
    """
    figures = report.figures()
    failed = [check for check in config.champion_if if not _passes(check, figures)]
    registry = Registry(config.registry)
    champion = registry.alias(config.name, "champion")
    lineage = {
        "name": config.name,
        "model_digest": model.digest,
        "weights_digest": model.weights_digest,
        "report_digest": report.digest,
        "soda": model.manifest.soda,
        "teacher": {**figures["teacher"], "fingerprint": report.log("teacher")},
        "trainings": model.trainings,
        "weights": figures["weights"],
        "train_config": model.manifest.config,
        "eval_config": report.manifest.config,
        "inputs": {"train": model.manifest.inputs, "eval": report.manifest.inputs},
    }
    card = render_card(lineage, figures)
    inputs = {"model": model, "report": report}
    with Registration.create(out, config=config, inputs=inputs) as writer:
        with storage.explain_os_errors():
            version = registry.add(
                config.name,
                lineage,
                folders={"model": model.path, "report": report.path},
                card=card,
            )
            if config.model_registry:
                register_version(
                    config.model_registry,
                    name=config.name,
                    version=str(version),
                    uri=str(registry.place_of(config.name, version) / "model"),
                    lineage=lineage,
                    author="soda",
                )
            if not failed:
                registry.move_alias(config.name, "champion", version, seen=champion)
        facts: dict[str, Any] = {
            "name": config.name,
            "version": version,
            "champion": registry.alias(config.name, "champion") == version,
            "failed_checks": failed,
        }
        text = json.dumps(facts, indent=2)
        (writer.path / Registration.FILE).write_text(text, encoding="utf-8")
        (writer.path / Registration.CARD).write_text(card, encoding="utf-8")
        writer.facts.update(facts)
    return Registration.open(out)


def _passes(check: str, figures: dict[str, Any]) -> bool:
    """Compare one figure of the report with a number."""
    found = _CHECK.fullmatch(check)
    assert found, "the config has checked it"
    path, operator, number = found.groups()
    value: Any = {**figures["metrics"], "lm_eval": figures["lm_eval"]}
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
