"""A run as Git declares it: its pipeline as Kubernetes objects, and what the CronJob submits."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from soda.errors import ConfigError
from soda_components import images
from soda_components.generate import readable

from .runs import PreparedRun, prepare_run
from .submit import RunConfig, read_run

__all__ = ["add_arguments", "declare", "run_command"]

_API = "pipelines.kubeflow.org/v2beta1"
_HEADER = "# Made by `soda gitops`; run it again after a change of the run, the recipe or soda.\n"
_CRON_JOB_IMAGE = "ghcr.io/soda-distill/soda-cpu"  # as manifests/components/gitops names it


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda gitops` takes."""
    command.description = (
        "Write, beside a run's file in your own repository, pipeline.yaml (its Pipeline and\n"
        "PipelineVersion, for Kubeflow in Kubernetes-native mode) and kustomization.yaml, a\n"
        "component that goes after manifests/components/gitops in your kustomization.\n"
        "SODA_CPU_IMAGE and SODA_GPU_IMAGE name the images, as for compile and submit."
    )
    text = "what to run, YAML: docs/cluster.md#runyaml"
    command.add_argument("-f", "--file", type=Path, required=True, metavar="FILE", help=text)
    command.add_argument(
        "--no-pipeline", action="store_true", help="for a Kubeflow with a database: submit uploads"
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Write both files and print their names."""
    config = read_run(parsed.file)
    prepared = None if parsed.no_pipeline else prepare_run(config, parsed.file)
    files = declare(config, prepared, parsed.file)
    for path in files:
        if path.exists() and not path.read_text(encoding="utf-8").startswith(_HEADER):
            raise ConfigError(f"{path}: expected a file made by `soda gitops`, found another")
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0


def declare(config: RunConfig, prepared: PreparedRun | None, path: Path) -> dict[Path, str]:
    """Return the files to write, and their text.

    Args:
        config: what the run's file says.
        prepared: the same, compiled; None: the pipeline is left out.
        path: the run's file.

    Raises:
        ConfigError: the recipe is not in the same folder, outside of which kustomize reads nothing.
    """
    recipe = config.recipe
    if Path(recipe).name != recipe:
        raise ConfigError(f"{path}: recipe: expected a file in the same folder, found '{recipe}'")
    names = ["run.yaml" if path.name == "run.yaml" else f"run.yaml={path.name}", recipe]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["pipeline.yaml"] if prepared else [],
        "images": [{"name": _CRON_JOB_IMAGE, **_reference(images.CPU)}],
        "configMapGenerator": [
            {
                "name": "soda-refresh",
                "behavior": "replace",
                "files": names,
                "literals": [f"SODA_CPU_IMAGE={images.CPU}", f"SODA_GPU_IMAGE={images.GPU}"],
                "options": {"disableNameSuffixHash": True},
            }
        ],
    }
    files = {"kustomization.yaml": yaml.safe_dump(kustomization, sort_keys=False)}
    if prepared:
        files["pipeline.yaml"] = readable(*_native(prepared))
    return {path.with_name(name): _HEADER + text for name, text in files.items()}


def _native(prepared: PreparedRun) -> list[dict[str, Any]]:
    """Return a Pipeline and a PipelineVersion, named as `submit` names what it uploads.

    So `submit` finds the version and uploads nothing. A version cannot be changed: another spec
    has another digest and is another object.
    """
    spec, platform = yaml.load_all(prepared.spec, Loader=yaml.CSafeLoader)
    described = {"description": spec["pipelineInfo"].get("description", "")}
    objects = {
        ("Pipeline", prepared.pipeline): {"displayName": prepared.pipeline, **described},
        ("PipelineVersion", prepared.version): {
            "displayName": prepared.version,
            **described,
            "pipelineName": prepared.pipeline,
            "pipelineSpec": spec,
            "platformSpec": platform,
        },
    }
    labels = {"app.kubernetes.io/part-of": "soda"}
    return [
        {"apiVersion": _API, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": of}
        for (kind, name), of in objects.items()
    ]


def _reference(image: str) -> dict[str, str]:
    """Return an image's reference as kustomize takes it."""
    name, _, digest = image.partition("@")
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    made = {"newName": f"{folder}{slash}{last}", "newTag": tag, "digest": digest}
    if digest:
        del made["newTag"]
    return {key: value for key, value in made.items() if value}
