"""Whether a run can work here: every check that takes seconds, before anything that takes hours."""

import argparse
import contextlib
import functools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from soda import storage
from soda.config import Config
from soda.errors import ConfigError, SodaError, StorageError, refuse
from soda.kubernetes.api import connect
from soda.kubernetes.checks import Gpus, allowed, gpu_nodes, quota
from soda.kubernetes.image_registry import image_digest
from soda.progress import say
from soda.recipe import STEPS, Recipe, load_recipe, parse_step
from soda.stages.import_student import ImportStudentConfig, look_at_source
from soda.stages.register import RegisterConfig
from soda.stages.teacher_gen import TeacherGenConfig
from soda.stages.train import TrainConfig
from soda.storage import BUCKETS, Place
from soda.teacher.identity import prove
from soda.teacher.served import as_asked

__all__ = [
    "Check",
    "add_arguments",
    "preflight",
    "preflight_step",
    "refuse_failures",
    "render",
    "run_command",
]

_TRAINJOBS = [("trainer.kubeflow.org", "trainjobs", verb) for verb in ("create", "get", "delete")]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and what to do about it."""

    name: str
    outcome: Literal["ok", "failed", "warning", "skipped"]
    found: str
    fix: str = ""


class _Skipped(Exception):  # noqa: N818 - it says what happened
    """There is nothing to look at here."""


def preflight(
    recipe: Recipe,
    *,
    store: str = "",
    images: list[str] | None = None,
    gpus: Gpus | None = None,
    autoscaled: bool = False,
) -> list[Check]:
    """Look at everything a run needs; nothing is raised.

    Args:
        recipe: a step's raw values by its name; a step that is left out is not looked at.
        store: where runs keep what they share; "": not looked at.
        images: references that the pods will pull.
        gpus: what training asks for.
        autoscaled: the cluster makes GPU nodes when they are asked for, so none may be there now.
    """
    configs: dict[str, Config] = {}
    gpus = gpus or Gpus()
    found = [_of_recipe(recipe, configs)]
    teacher, student = configs.get("teacher-gen"), configs.get("import-student")
    if isinstance(teacher, TeacherGenConfig):
        found.append(_check("teacher", lambda: _teacher(teacher), _FIXES["teacher"]))
    if isinstance(student, ImportStudentConfig):
        found.append(_check("student", lambda: look_at_source(student), _FIXES["student"]))
    trainings = [each for each in configs.values() if isinstance(each, TrainConfig)]
    if trainings:
        look = functools.partial(_processes, trainings, gpus)
        found.append(_check("processes", look, _FIXES["processes"]))
    register = configs.get("register")
    registry = register.registry if isinstance(register, RegisterConfig) else ""
    for name, location in (("store", store), ("registry", registry)):
        if location:
            found.append(_check(name, functools.partial(_writable, location), _FIXES["store"]))
    found += [
        _check(f"image {reference}", functools.partial(_image, reference), _FIXES["image"])
        for reference in images or []
    ]
    return found + list(_of_cluster(gpus, autoscaled))


_FIXES = {
    "teacher": "correct teacher-gen in the recipe, or the Secret that holds the key as api_key",
    "student": "correct import-student in the recipe",
    "processes": "set gpu_count to 1, and train_nodes too",
    "store": "name a place where this service account may create objects",
    "image": "push the image, or compile with the reference that you have pushed",
    "gpus": "set gpu_type, gpu_count, gpu_node_selector and gpu_tolerations to a pool you have; "
    "gpu_autoscaled, if the pool begins empty",
    "quota": "ask for less, or have the quota raised",
    "permissions": "apply manifests/, and start the run as the service account soda-runner",
}


def _check(name: str, look: Callable[[], str], fix: str) -> Check:
    try:
        return Check(name, "ok", look())
    except _Skipped as skipped:
        return Check(name, "skipped", str(skipped))
    except SodaError as error:
        return Check(name, "failed", " ".join(str(error).split()), fix)


def _of_recipe(recipe: Recipe, configs: dict[str, Config]) -> Check:
    problems = []
    for name in filter(recipe.__contains__, STEPS):
        try:
            configs[name] = parse_step(recipe, name)
        except SodaError as error:
            problems.append(str(error))
    if problems:
        return Check("recipe", "failed", "; ".join(problems), "correct the recipe's values")
    return Check("recipe", "ok", f"{len(configs)} steps")


def _teacher(config: TeacherGenConfig) -> str:
    if not (config.base_url and config.model):
        if config.answers:
            raise _Skipped("only given answers are used")
        raise ConfigError("expected teacher-gen.base_url and .model, found none")
    found = prove(config.endpoint(), config.body())
    key = "with a key" if config.endpoint().secrets() else "without a key"
    listed = {True: "listed", False: "not listed", None: "an endpoint without a list of models"}
    named = found.served is None or as_asked(config.model, found.served)
    served = "" if named else f", served by {found.served}"
    if not named and config.served == "as_asked":
        raise ConfigError(f"expected answers of {config.model}, found those of {found.served}")
    return f"{config.model} at {config.base_url}: {listed[found.listed]}, {key}{served}"


def _processes(trainings: list[TrainConfig], gpus: Gpus) -> str:
    count = gpus.count * gpus.nodes
    for config in trainings:
        config.check_processes(count)
    methods = dict.fromkeys(config.method for config in trainings)
    return f"{count}, which {' and '.join(methods)} can use"


def _writable(location: str) -> str:
    """Create an object once, see that a second time is refused, and delete it."""
    place = Place.of(location)
    folder = place.folder.absolute()
    mounted = any(each.is_mount() for each in (folder, *folder.parents[:-1]))
    if not (place.remote or mounted) and "KUBERNETES_SERVICE_HOST" in os.environ:
        raise StorageError(
            f"{location}: expected {BUCKETS}, or a folder on a volume, found a folder of this "
            "pod, which is lost with it"
        )
    made = [] if place.remote else [one for one in (folder, *folder.parents) if not one.exists()]
    store, name = place.open(), f".preflight-{uuid.uuid4().hex}"
    store.create(f"{name}/object", b"1")
    try:
        if store.create(f"{name}/object", b"2") is not None:
            raise StorageError(
                f"{location}: expected create-once writes (If-None-Match), found an overwrite"
            )
    finally:
        store.delete(f"{name}/object")
        if not place.remote:  # a lock lies beside the object
            storage.remove_tree(folder / name)
            for each in made:
                with contextlib.suppress(OSError):  # somebody else's by now
                    each.rmdir()
    return f"{location}: writable, with conditional writes"


def _image(reference: str) -> str:
    found = image_digest(reference)
    if found is None:
        raise _Skipped("its registry wants credentials, which the nodes have")
    return found


def _of_cluster(gpus: Gpus, autoscaled: bool) -> Iterator[Check]:
    connected = connect()
    if connected is None:
        yield Check("cluster", "skipped", "this is no pod of a cluster")
        return
    api, namespace = connected
    nodes = _check("GPU nodes", lambda: gpu_nodes(api, gpus), _FIXES["gpus"])
    if nodes.outcome == "failed" and autoscaled:
        nodes = Check(nodes.name, "warning", nodes.found, "the autoscaler has to add them")
    yield nodes
    wants = {
        f"{kind}{gpus.type}": str(gpus.count * gpus.nodes) for kind in ("requests.", "limits.")
    }
    yield _check("quota", lambda: quota(api, namespace, wants), _FIXES["quota"])
    needs = _TRAINJOBS if gpus.nodes > 1 else []
    needs = [*needs, ("", "pods", "get"), ("argoproj.io", "workflowtaskresults", "create")]
    look = lambda: allowed(api, namespace, needs)  # noqa: E731
    yield _check("permissions", look, _FIXES["permissions"])


def render(found: list[Check]) -> str:
    """Return the checks as a Markdown table."""
    marks = {"ok": "✓", "failed": "✗", "warning": "!", "skipped": "·"}
    lines = ["| | check | found | what to do |", "|---|---|---|---|"]
    for each in found:
        cells = [each.name, each.found, each.fix]
        cells = [cell.replace("|", "\\|") for cell in cells]
        lines.append(f"| {marks[each.outcome]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def refuse_failures(found: list[Check]) -> None:
    """Raise if a check failed.

    Raises:
        ConfigError: it names every one that did.
    """
    failed = [f"{each.name}: {each.found}" for each in found if each.outcome == "failed"]
    if failed:
        raise ConfigError(f"preflight: {len(failed)} of {len(found)} failed: {'; '.join(failed)}")


def preflight_step(
    recipe: Recipe,
    *,
    store: str,
    images: list[str],
    autoscaled: bool,
    gpus: Mapping[str, Any],
    report: str,
) -> None:
    """Make the checks as a pipeline's first step: the table goes into the log and the report.

    Raises:
        SystemExit: a check failed (code 2).
    """
    recipe = {name: values for name, values in recipe.items() if values or name != "register"}
    wanted = Gpus(**{**gpus, "count": int(gpus["count"]), "nodes": int(gpus["nodes"])})
    found = preflight(recipe, store=store, images=images, gpus=wanted, autoscaled=autoscaled)
    Path(report).write_text(render(found), encoding="utf-8")
    for each in found:
        say(f"preflight: {each.outcome}: {each.name}: {each.found}")
        if each.outcome in ("failed", "warning"):
            say(f"preflight:     what to do: {each.fix}")
    try:
        refuse_failures(found)
    except SodaError as error:
        raise refuse(error) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `soda preflight` takes."""
    parser.description = (
        "Check teacher, key, student, store and registry of a recipe, and in a cluster GPUs,\n"
        "quota and permissions: in seconds, and nothing is started. Code 2 if a check fails."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE")
    parser.add_argument("--image", action="append", default=[], help="a reference to look up")
    parser.add_argument("--gpu-type", default="nvidia.com/gpu")
    parser.add_argument("--gpu-count", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)


def run_command(parsed: argparse.Namespace) -> int:
    """Print the table; the exit code is 2 if a check failed."""
    found = preflight(
        load_recipe(parsed.recipe),
        store=os.environ.get("SODA_STORE", ""),
        images=parsed.image,
        gpus=Gpus(parsed.gpu_type, parsed.gpu_count, parsed.nodes),
    )
    print(render(found), end="")
    refuse_failures(found)
    return 0
