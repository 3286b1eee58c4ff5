"""Rules about what KFP refuses when a pipeline is uploaded or a run is created."""

import json
import re
from typing import Literal

from ..findings import Fault, Faults, Rule
from ..shape import Keys
from ..spec import Place, Spec

__all__ = ["RULES"]

# What the API gives back of a run has the pipeline's namespace before its name.
_PIPELINE = re.compile(r"((namespace/[^/]+/)?pipeline/)?[a-z0-9][a-z0-9-]{0,127}")
_ARGO = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
_LARGEST = 3 << 19  # bytes: what etcd takes in one request, unless it is told otherwise


def _at(keys: Keys) -> Place:
    return Place(".".join(keys[1:]) or "the document", keys)


def _misfits(spec: Spec, kind: Literal["unknown", "ignored", "type"]) -> Faults:
    return (Fault(_at(each.keys), each.message) for each in spec.misfits if each.kind == kind)


def _unknown_field(spec: Spec) -> Faults:
    """KFP's schema has no field of this name: a typo, or a field of a newer KFP.

    KFP reads the pipeline and the Kubernetes settings strictly: it refuses the upload, or the run.
    """
    yield from _misfits(spec, "unknown")


def _ignored_field(spec: Spec) -> Faults:
    """In `deploymentSpec`, KFP drops fields that it does not know, and says nothing.

    What the field was to do does not happen.
    """
    yield from _misfits(spec, "ignored")


def _wrong_type(spec: Spec) -> Faults:
    """A field holds a value of another type than the schema says; nothing can read the spec.

    Most often text that YAML reads as a number or as true: `image: 3.11`, `value: on` needs quotes.
    """
    yield from _misfits(spec, "type")


def _duplicate_key(spec: Spec) -> Faults:
    """A mapping holds one key twice: KFP refuses it, and other readers drop the first."""
    for keys in spec.repeated:
        yield Fault(_at(keys), "the key stands twice in its mapping")


def _several_documents(spec: Spec) -> Faults:
    """A file holds several pipelines, or several documents of platform settings.

    KFP takes one pipeline, and at most one document of Kubernetes settings with it.
    """
    for kind, keys in spec.surplus:
        yield Fault(Place(f"document {int(keys[0]) + 1}", keys), f"a second document with {kind}")


def _schema_version(spec: Spec) -> Faults:
    """KFP takes schema version 2.1.0 and no other. Vertex also runs 2.0.0, which kfp 1.8 wrote."""
    if spec.version != "2.1.0":
        found = f"'{spec.version}'" if spec.version else "none"
        yield Fault(spec.whole.at("schemaVersion"), f"expected schemaVersion 2.1.0, found {found}")


def _pipeline_name(spec: Spec) -> Faults:
    """A pipeline's name is 1 to 128 lower-case letters, digits and hyphens, no hyphen first."""
    if not _PIPELINE.fullmatch(spec.name):
        message = f"expected 1 to 128 of a-z, 0-9 and -, found '{spec.name}'"
        yield Fault(spec.place.at("name"), message)


def _argo_name(spec: Spec) -> Faults:
    """Argo, which runs pipelines for KFP, cannot take a name, or what KFP makes of it.

    Names of tasks, and of groups of tasks, are up to 128 letters, digits and hyphens. A task's
    begins with no digit. KFP appends: '-driver' to a task's name, '-iterator' to a loop's.
    """
    for component in spec.components.values():
        if component.tasks and not _ARGO.fullmatch(component.name):
            yield Fault(component.place, "Argo takes up to 128 letters, digits and hyphens")
        for task in component.tasks.values():
            inner = spec.components.get(task.component)
            made = [f"{task.name}-driver"]
            if inner and inner.tasks and (task.item or task.items or task.constants):
                made.append(f"{task.component}-{task.name}-iterator")
            if task.always:
                made.append(f"exit-hook-{task.around}-{task.name}")
            bad = [each for each in made if not _ARGO.fullmatch(each)]
            if task.name[:1].isdigit() or bad:
                found = bad[0] if bad else task.name
                yield Fault(task.place, f"Argo cannot take the name '{found}'")


def _spec_too_large(spec: Spec) -> Faults:
    """The run's Workflow does not fit into etcd, Kubernetes' database, which takes 1.5 MiB.

    KFP takes an upload of up to 32 MiB, but the run, which holds all of the pipeline, is refused.
    """
    size = len(json.dumps(spec.tree, default=str, separators=(",", ":")))
    if size > _LARGEST:
        yield Fault(spec.whole, f"it has {size / (1 << 20):.1f} MiB; a run holds at most 1.5")


RULES = (
    Rule(
        "unknown-field",
        "error",
        "KFP's schema has no such field: the upload or the run is refused",
        "correct the name, or remove the field",
        _unknown_field,
        ("kfp", "local"),
    ),
    Rule(
        "ignored-field",
        "warning",
        "KFP drops a field that it does not know, and says nothing",
        "correct the name, or remove the field",
        _ignored_field,
        ("kfp",),
    ),
    Rule(
        "wrong-type",
        "error",
        "a field holds a value of another type than the schema says: the spec cannot be read",
        "write a value of that type; text that looks like a number needs quotes",
        _wrong_type,
    ),
    Rule(
        "duplicate-key",
        "error",
        "a mapping holds a key twice: KFP refuses it, others drop the first",
        "remove one of the two",
        _duplicate_key,
    ),
    Rule(
        "several-documents",
        "error",
        "a file holds more than one pipeline, or more than one document of platform settings",
        "put each pipeline, with its settings, into a file of its own",
        _several_documents,
    ),
    Rule(
        "schema-version",
        "error",
        "KFP takes schema version 2.1.0 alone: the upload is refused",
        "compile the pipeline with kfp 2",
        _schema_version,
        ("kfp", "local"),
    ),
    Rule(
        "pipeline-name",
        "error",
        "the pipeline's name is empty, too long or has other characters: the upload is refused",
        "name it in @dsl.pipeline(name=...) with a-z, 0-9 and hyphens",
        _pipeline_name,
        ("kfp", "vertex"),
    ),
    Rule(
        "argo-name",
        "error",
        "a name is too long or has other characters than Argo takes: the run is refused",
        "rename the function, or the task",
        _argo_name,
        ("kfp",),
    ),
    Rule(
        "spec-too-large",
        "error",
        "the spec is larger than a Kubernetes object may be: the run is refused",
        "move code and data out of the spec, into the image or an artifact",
        _spec_too_large,
        ("kfp",),
    ),
)
