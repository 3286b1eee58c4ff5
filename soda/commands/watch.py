"""Whether the teacher has changed since the registered champion learned from it.

One run starts for one new teacher, however many triggers fire: what a run was started for is
written into the store, once, before it goes on.

<store>/watch/<name>.json      the last teacher that a run was started for, and by which run
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from soda.endpoint.waits import Waits
from soda.errors import ConfigError, MissingObject, SodaError, refuse
from soda.progress import say
from soda.recipe import load_recipe
from soda.registry.registry import Registry
from soda.rows import digest
from soda.run_state import recording, run_id
from soda.stages.register import RegisterConfig
from soda.stages.teacher_gen import TeacherGenConfig
from soda.storage import Place
from soda.teacher.fingerprint import Fingerprint
from soda.teacher.identity import Look, difference, look_at

__all__ = ["Watched", "add_arguments", "release", "run_command", "watch", "watch_step"]

Outcome = Literal["new", "changed", "unchanged", "unclear"]
RETRY_HOURS = 168.0  # a teacher that made no champion is not tried again for a week


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found; `identity` is teacher-gen's value of that name."""

    outcome: Outcome
    evidence: list[str]
    identity: str

    def markdown(self) -> str:
        """Say it to a person."""
        lines = [f"**The teacher is {self.outcome}.**", *(f"- {line}" for line in self.evidence)]
        return "\n".join(lines) + "\n"


def watch(
    teacher: TeacherGenConfig,
    register: RegisterConfig,
    *,
    store: str,
    run: str = "",
    retry_hours: float = RETRY_HOURS,
    force: bool = False,
    waits: Waits | None = None,
) -> Watched:
    """Compare the teacher with the champion's; costs some two dozen small requests at most.

    `unclear` starts nothing: the probes do not tell whether the teacher is another.

    Args:
        teacher: which teacher.
        register: under which name its students are registered, and where.
        store: where runs keep what they share.
        run: who asks; with a name, the run that finds a teacher takes it, and no other run will
            until `retry_hours` have passed. Asked again, the same run finds the same.
        force: call the teacher changed whatever is found, and ask it everything again.

    Raises:
        ConfigError: the recipe names no teacher.
        EndpointError: it cannot be reached, or is not there.
    """
    if not (teacher.base_url and teacher.model):
        raise ConfigError("watch: expected teacher-gen.base_url and .model, found none")
    now = look_at(teacher.endpoint(), teacher.body(), waits)
    outcome, evidence = _against_champion(register, now)
    identity = now.identity if outcome == "changed" else teacher.identity
    if force:
        outcome, evidence = "changed", [*evidence, "forced: taken as changed"]
        identity = digest([now.identity, run])[:12]
    if not run or outcome in ("unchanged", "unclear"):
        return Watched(outcome, evidence, identity)
    found = Watched(outcome, evidence, identity)
    return _take(found, now, register.name, store, run, None if force else retry_hours)


def release(name: str, store: str, run: str) -> None:
    """Let other runs have the teacher that this run took: it failed."""
    shared, place = Place.of(store).open(), _place(name)
    try:
        data, version = shared.read(place)
    except MissingObject:
        return
    taken = json.loads(data)
    if taken["run"] == run:
        shared.swap(place, json.dumps({**taken, "failed": True}).encode(), version)


def _against_champion(register: RegisterConfig, now: Look) -> tuple[Outcome, list[str]]:
    registry = Registry(register.registry)
    version = registry.alias(register.name, "champion")
    if version is None:
        return "new", [f"{register.name} has no champion in {register.registry}"]
    lineage = registry.lineage(register.name, version)["teacher"]
    named = f"champion: {register.name} version {version}, taught by {lineage['model']}"
    if (lineage["endpoint"], lineage["model"]) != (now.endpoint, now.model):
        return "new", [named, f"now: {now.model} at {now.endpoint}"]
    if not lineage["fingerprint"]:
        return "unchanged", [named, "no probe was taken of the champion's teacher: none compared"]
    fingerprint = Fingerprint.from_json(lineage["fingerprint"])
    found = difference(Look(now.endpoint, now.model, None, fingerprint), now)
    if found.kind == "same":
        return "unchanged", [named, f"still served as '{fingerprint.model}': {found.why}"]
    return found.kind, [named, found.why]


def _take(
    found: Watched,
    now: Look,
    name: str,
    store: str,
    run: str,
    retry_hours: float | None,
) -> Watched:
    """Take the teacher for this run, unless another has it; None: even then."""
    shared, place = Place.of(store).open(), _place(name)
    taken: dict[str, Any] = {
        "run": run,
        "at": time.time(),
        "seen": now.to_json(),
        "identity": found.identity,
        "failed": False,
    }
    try:
        data, version = shared.read(place)
    except MissingObject:
        if shared.create(place, json.dumps(taken).encode()) is not None:
            return found
        data, version = shared.read(place)
    before = json.loads(data)
    seen = Look.from_json(before["seen"])
    same = difference(seen, now).kind != "changed"
    if retry_hours is None and before["run"] != run:
        identity = found.identity
    elif same:  # the same name for it: what was asked of it is in the journal under this
        identity = before["identity"]
    elif (seen.endpoint, seen.model) == (now.endpoint, now.model):
        identity = now.identity  # under another name than the one that was there before it
    else:
        identity = found.identity
    taken["identity"] = identity
    found = Watched(found.outcome, found.evidence, identity)
    if same and before["run"] == run and not before["failed"]:
        return found
    hours = (time.time() - before["at"]) / 3600
    if same and not before["failed"] and retry_hours is not None and hours < retry_hours:
        reason = f"run {before['run']} took this teacher {hours:.1f} hours ago"
        return Watched("unchanged", [*found.evidence, reason], found.identity)
    if shared.swap(place, json.dumps(taken).encode(), version) is None:
        return Watched("unchanged", [*found.evidence, "another run took it just now"], "")
    return found


def _place(name: str) -> str:
    return f"watch/{name}.json"


def watch_step(
    teacher_gen_config: Mapping[str, Any],
    register_config: Mapping[str, Any],
    *,
    store: str,
    force: bool,
    report: str,
) -> tuple[str, str]:
    """Watch as a pipeline's step; returns what was found, and the teacher's identity.

    What is unclear is reported as such and returned as unchanged: the pipeline starts nothing.

    Raises:
        SystemExit: the teacher cannot be looked at (code 2).
    """
    try:
        with recording("watch", store=store, out=report) as tell:
            found = watch(
                TeacherGenConfig.parse(teacher_gen_config),
                RegisterConfig.parse(register_config),
                store=store,
                run=run_id(),
                force=force,
            )
            tell(outcome=found.outcome, evidence=found.evidence)
    except SodaError as error:
        raise refuse(error) from None
    Path(report).write_text(found.markdown(), encoding="utf-8")
    for line in [*found.evidence, f"the teacher is {found.outcome}"]:
        say(f"watch: {line}")
    return "unchanged" if found.outcome == "unclear" else found.outcome, found.identity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `soda watch` takes."""
    parser.description = (
        "Say whether the teacher is new, changed, unchanged or unclear beside the champion's.\n"
        "Nothing is taken or started. The exit code is 0, whatever was found."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--recipe", type=Path, required=True, metavar="FILE", help="the recipe, YAML"
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Print what was found."""
    recipe = load_recipe(parsed.recipe)
    found = watch(
        TeacherGenConfig.parse(recipe.get("teacher-gen", {})),
        RegisterConfig.parse(recipe.get("register", {})),
        store=os.environ.get("SODA_STORE", ""),
    )
    print(found.outcome)
    for line in found.evidence:
        say(f"watch: {line}")
    return 0
