"""What is declared and what a cluster has -> what has to be done. No calls, no files."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from soda.errors import ClusterError

from .kfp_api import PipelineVersion
from .runs import PreparedRun

__all__ = ["Action", "Found", "Wanted", "mark", "read_found", "reconcile"]

_MARK = re.compile(r"soda-schedule: ([0-9a-f]{64}) \((\S+) (\S+)\)")


@dataclass(frozen=True)
class Wanted:
    """A declared schedule."""

    name: str
    prepared: PreparedRun
    version: PipelineVersion | None  # on the server; None: it is not there yet
    facts: Mapping[str, Any]  # everything that a recurring run cannot have changed
    is_enabled: bool

    @property
    def digest(self) -> str:
        """Return what says whether a recurring run was made of this declaration."""
        text = json.dumps([self.name, dict(self.facts)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Found:
    """A recurring run on the server."""

    run: str
    name: str
    digest: str | None  # None: it does not carry our mark
    version: PipelineVersion
    facts: Mapping[str, Any]
    is_enabled: bool


@dataclass(frozen=True)
class Action:
    """One line of the plan; `notes` are the lines below it."""

    verb: str  # create, replace, enable, disable, delete, unchanged or left
    name: str
    notes: tuple[str, ...] = ()
    run: str = ""
    wanted: Wanted | None = None


def mark(wanted: Wanted) -> str:
    """Return the description that makes a recurring run ours."""
    prepared = wanted.prepared
    return f"soda-schedule: {wanted.digest} ({prepared.pipeline} {prepared.version})"


def read_found(run: Any) -> Found:
    """Read a V2beta1RecurringRun."""
    marked = _MARK.fullmatch(run.description or "")
    digest, pipeline, version = marked.groups() if marked else (None, None, None)
    reference, runtime = run.pipeline_version_reference, run.runtime_config
    cron = run.trigger and run.trigger.cron_schedule
    every = run.trigger and run.trigger.periodic_schedule
    return Found(
        run=run.recurring_run_id,
        name=run.display_name or "",
        digest=digest,
        version=PipelineVersion(
            reference.pipeline_id if reference else "",
            reference.pipeline_version_id if reference else "",
        ),
        facts={
            "pipeline": pipeline,
            "version": version,
            "cron": cron.cron if cron else None,
            "every_seconds": int(every.interval_second) if every else None,
            "max_concurrency": int(run.max_concurrency or 0),
            "catchup": not run.no_catchup,
            "service_account": run.service_account,
            "pipeline_root": runtime.pipeline_root if runtime else None,
            "parameters": (runtime.parameters if runtime else None) or {},
        },
        is_enabled=run.mode == "ENABLE",
    )


def reconcile(wanted: Iterable[Wanted], found: Iterable[Found], *, prune: bool) -> list[Action]:
    """Return what makes the server's recurring runs of one experiment the declared ones.

    Raises:
        ClusterError: somebody else's recurring run has a declared name: both would fire.
    """
    found = list(found)
    actions: list[Action] = []
    declared: set[str] = set()
    for one in wanted:
        declared.add(one.name)
        same = [other for other in found if other.name == one.name]
        foreign = [other.run for other in same if other.digest is None]
        if foreign:
            raise ClusterError(
                f"schedule '{one.name}': expected a name of our own, found recurring run "
                f"{foreign[0]}, which soda did not make; rename one of them"
            )
        actions += _actions_for(one, same)
    for other in found:
        if other.digest is not None and other.name not in declared:
            verb = "delete" if prune else "left"
            note = "no longer declared" if prune else "no longer declared; --prune deletes it"
            actions.append(Action(verb, other.name, (note,), other.run))
    return actions


def _actions_for(wanted: Wanted, same: list[Found]) -> list[Action]:
    """Return what one declaration asks for, where `same` are ours of its name."""
    if not same:
        return [Action("create", wanted.name, _summary(wanted), wanted=wanted)]
    kept = next((one for one in same if _is_made_of(one, wanted)), same[0])
    spare = [
        Action("delete", one.name, ("a second one of this name",), one.run)
        for one in same
        if one is not kept
    ]
    if not _is_made_of(kept, wanted):
        notes = _differences(kept, wanted)
        return [*spare, Action("replace", wanted.name, notes, kept.run, wanted)]
    if kept.is_enabled != wanted.is_enabled:
        verb = "enable" if wanted.is_enabled else "disable"
        return [*spare, Action(verb, wanted.name, (), kept.run)]
    return [*spare, Action("unchanged", wanted.name)]


def _is_made_of(found: Found, wanted: Wanted) -> bool:
    return found.digest == wanted.digest and found.version == wanted.version


def _summary(wanted: Wanted) -> tuple[str, ...]:
    facts = wanted.facts
    when = f"cron {facts['cron']}" if facts["cron"] else f"every {facts['every_seconds']} seconds"
    state = "" if wanted.is_enabled else ", disabled"
    return (f"{facts['pipeline']} {facts['version']}, {when}{state}",)


def _differences(found: Found, wanted: Wanted) -> tuple[str, ...]:
    """Return the fields that differ, old -> new."""
    old = _flat({**found.facts, "enabled": found.is_enabled})
    new = _flat({**wanted.facts, "enabled": wanted.is_enabled})
    for name in ("service_account", "pipeline_root"):
        if new[name] is None:  # the server fills in its own
            old[name] = None
    notes = [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if found.version != wanted.version and found.facts["version"] == wanted.facts["version"]:
        notes.append(f"version: {found.version.version_id}, no longer there -> uploaded again")
    return tuple(notes) or ("declared otherwise before",)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
