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
from soda.dataset.task_set import task_set_digests
from soda.errors import ConfigError, SodaError, StorageError, refuse
from soda.kubernetes.api import connect
from soda.kubernetes.checks import Gpus, allowed, gpu_nodes, quota, training_runtime
from soda.kubernetes.image_registry import image_digest
from soda.kubernetes.resources import CpuPods, GpuPods, Texts, texts_of
from soda.progress import say
from soda.recipe import STEPS, Recipe, check_recipe, load_recipe, parse_step
from soda.run_state import recording
from soda.stages.audit import AuditConfig
from soda.stages.eval import EvalConfig
from soda.stages.import_student import ImportStudentConfig, look_at_source
from soda.stages.prepare_prompts import PreparePromptsConfig, look_at_dataset
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
_TRAINJOBS += [("", "pods", "list"), ("", "pods/log", "get"), ("", "events", "list")]


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
    runtime: str = "",
) -> list[Check]:
    """Look at everything a run needs; nothing is raised.

    Args:
        recipe: raw values; a step that is left out is not looked at. Of a compiled pipeline, the
            values of every step by its name, in which a label may follow: `train: gad`.
        store: where runs keep what they share; "": not looked at.
        images: references that the pods will pull.
        gpus: what training asks for.
        autoscaled: the cluster makes GPU nodes when they are asked for, so none may be there now.
        runtime: the TrainingRuntime, if training is a TrainJob.
    """
    configs: dict[str, Config] = {}
    gpus = gpus or Gpus()
    found = [_of_recipe(recipe, configs)]
    for name, config in configs.items():
        label = name.partition(":")[1] + name.partition(":")[2]  # of a source of rejects
        if isinstance(config, PreparePromptsConfig):
            look = functools.partial(look_at_dataset, config)
            found.append(_check(f"prompts{label}", look, _FIXES["prompts"]))
        if isinstance(config, TeacherGenConfig):
            look = functools.partial(_teacher, config)
            found.append(_check(f"teacher{label}", look, _FIXES["teacher"]))
        if isinstance(config, ImportStudentConfig):
            look = functools.partial(look_at_source, config)
            found.append(_check(f"student{label}", look, _FIXES["student"]))
    if named := {tuple(texts) for each in configs.values() if (texts := _task_sets(each))}:
        found.append(_check("task sets", functools.partial(_readable, named), _FIXES["task sets"]))
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
    return found + list(_of_cluster(gpus, autoscaled, runtime))


_FIXES = {
    "prompts": "correct prepare-prompts in the recipe",
    "teacher": "correct teacher-gen in the recipe, or the Secret that holds the key as api_key",
    "student": "correct import-student in the recipe",
    "task sets": "correct the names, or put the files where the recipe says that they are",
    "processes": "set gpus.count to 1, and train_nodes too",
    "store": "name a place where this service account may create objects; the root of a volume has "
    "to belong to uid 10001 (manifests/README.md, A volume that uid 10001 cannot write)",
    "image": "push the image, or compile with the reference that you have pushed",
    "gpus": "set type, count, node_selector and tolerations of gpus to a pool that you have; "
    "autoscaled, if the pool begins empty",
    "runtime": "apply manifests/components/trainer here, or name another in train_runtime",
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
    for name in recipe:
        step, _, label = name.partition(":")
        if step not in STEPS:
            continue
        try:
            configs[name] = parse_step({**recipe, step: recipe[name]}, step)
        except SodaError as error:
            problems.append(f"{error} ({label.strip()})" if label else str(error))
    try:
        check_recipe({key: each for key, each in recipe.items() if key.partition(":")[0] == key})
    except SodaError as error:
        problems += [str(error)] * (not problems)
    if problems:
        return Check("recipe", "failed", "; ".join(problems), "correct the recipe's values")
    return Check("recipe", "ok", f"{len(configs)} step{'s' * (len(configs) != 1)}")


def _task_sets(config: Config) -> list[str]:
    """Return the task sets that a step reads."""
    match config:
        case EvalConfig():
            return config.sets
        case AuditConfig():
            return config.held_out
    return []


def _readable(named: set[tuple[str, ...]]) -> str:
    digests = {key: each for texts in named for key, each in task_set_digests(texts).items()}
    absent = sorted(name for name, digest in digests.items() if not digest)
    if absent:
        raise ConfigError(f"expected the file of every task set, found none of {', '.join(absent)}")
    return ", ".join(sorted(digests))


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


def _of_cluster(gpus: Gpus, autoscaled: bool, runtime: str) -> Iterator[Check]:
    connected = connect()
    if connected is None:
        yield Check("cluster", "skipped", "this is no pod of a cluster")
        return
    api, namespace = connected
    nodes = _check("GPU nodes", lambda: gpu_nodes(api, gpus), _FIXES["gpus"])
    if nodes.outcome == "failed" and autoscaled:
        nodes = Check(nodes.name, "warning", nodes.found, "the autoscaler has to add them")
    yield nodes
    if runtime:
        look = functools.partial(training_runtime, api, namespace, runtime)
        yield _check("training runtime", look, _FIXES["runtime"])
    wants = {
        f"{kind}{gpus.type}": str(gpus.count * gpus.nodes) for kind in ("requests.", "limits.")
    }
    yield _check("quota", lambda: quota(api, namespace, wants), _FIXES["quota"])
    needs = [*(_TRAINJOBS if runtime else []), ("", "pods", "get")]
    needs += [("argoproj.io", "workflowtaskresults", "create"), ("argoproj.io", "workflows", "get")]
    look = functools.partial(allowed, api, namespace, needs)
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
    failed = [
        f"{each.name}: {each.found} (what to do: {each.fix})"
        for each in found
        if each.outcome == "failed"
    ]
    if failed:
        raise ConfigError(f"preflight: {len(failed)} of {len(found)} failed: {'; '.join(failed)}")


def preflight_step(
    recipe: Recipe,
    *,
    steps: list[str],
    store: str,
    images: list[str],
    gpus: Mapping[str, Any],
    pods: Mapping[str, Any],
    nodes: int,
    report: str,
    runtime: str = "",
) -> Texts:
    """Make the checks as a pipeline's first step: the table goes into the log and the report.

    Args:
        recipe: the values of every step.
        steps: which steps there have to be.
        store: where runs keep what they share.
        images: references that the pods will pull.
        gpus: what pods with GPUs ask for, over the defaults.
        pods: what pods without GPUs ask for, over the defaults.
        nodes: for training.
        report: the file for the table.
        runtime: the TrainingRuntime, if training is a TrainJob.

    Returns what the driver reads of gpus and pods.

    Raises:
        SystemExit: a check failed (code 2).
    """
    try:
        with recording("preflight", store=store, out=report):
            with_gpus, without = GpuPods.parse(gpus), CpuPods.parse(pods)
            if missing := [step for step in steps if step not in recipe]:
                raise ConfigError(f"recipe: expected values for {', '.join(missing)}, found none")
            found = preflight(
                recipe,
                store=store,
                images=images,
                gpus=Gpus(
                    with_gpus.type,
                    with_gpus.count,
                    int(nodes),
                    with_gpus.node_selector,
                    with_gpus.tolerations,
                ),
                autoscaled=with_gpus.autoscaled,
                runtime=runtime,
            )
            Path(report).write_text(render(found), encoding="utf-8")
            for each in found:
                say(f"preflight: {each.outcome}: {each.name}: {each.found}")
                if each.outcome in ("failed", "warning"):
                    say(f"preflight:     what to do: {each.fix}")
            refuse_failures(found)
    except SodaError as error:
        raise refuse(error) from None
    return texts_of(without, with_gpus)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `soda preflight` takes."""
    parser.description = (
        "Check prompts, teacher, key, student, store and registry of a recipe, and in a cluster\n"
        "GPUs, quota and permissions: in seconds, and nothing is started. The exit code is 2 if a\n"
        "check fails."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--recipe", type=Path, required=True, metavar="FILE", help="the recipe, YAML"
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME",
        help="look this image up; may be repeated",
    )
    text = "in a cluster: the resource that training asks for (default: %(default)s)"
    parser.add_argument("--gpu-type", default="nvidia.com/gpu", metavar="NAME", help=text)
    text = "of them on each node (default: %(default)s)"
    parser.add_argument("--gpu-count", type=int, default=1, metavar="N", help=text)
    text = "that train together (default: %(default)s)"
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help=text)


def run_command(parsed: argparse.Namespace) -> int:
    """Print the table; the exit code is 2 if a check failed."""
    recipe = load_recipe(parsed.recipe)
    if missing := [step for step in ("prepare-prompts", "import-student") if step not in recipe]:
        raise ConfigError(f"{parsed.recipe}: expected values for {', '.join(missing)}, found none")
    found = preflight(
        {"teacher-gen": {}, **recipe},
        store=os.environ.get("SODA_STORE", ""),
        images=parsed.image,
        gpus=Gpus(parsed.gpu_type, parsed.gpu_count, parsed.nodes),
    )
    print(render(found), end="")
    refuse_failures(found)
    return 0
