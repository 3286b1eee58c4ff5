"""Compile every pipeline into the objects that Kubeflow keeps pipelines as in a cluster.

Run from the repository's root, after a change of a pipeline, of run.yaml or of recipe.yaml:

    .venv/bin/python manifests/generate.py
"""

import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent / "components" / "gitops"
sys.path.insert(0, str(FOLDER.parents[2]))

from soda_pipelines.compile import PIPELINES  # noqa: E402  # a script finds only its own folder
from soda_pipelines.runs import WorkConfig, prepare_run  # noqa: E402

API = "pipelines.kubeflow.org/v2beta1"
HEADER = "# Made by manifests/generate.py; do not edit.\n"


def native_objects(pipeline: str) -> list[dict[str, Any]]:
    """Return a Pipeline and a PipelineVersion, named as `submit` names what it uploads.

    So `submit` finds the version and uploads nothing. A version cannot be changed: another spec
    has another digest and is another object.
    """
    run = FOLDER / "run.yaml"
    store = yaml.safe_load(run.read_text(encoding="utf-8"))["store"]
    work = WorkConfig.parse({"pipeline": pipeline, "recipe": "recipe.yaml", "store": store})
    prepared = prepare_run(work, run)
    spec, platform = yaml.safe_load_all(prepared.spec)  # ours all have one: GPUs, secrets, labels
    description = spec["pipelineInfo"].get("description", "")
    return [
        {
            "apiVersion": API,
            "kind": "Pipeline",
            "metadata": {"name": prepared.pipeline},
            "spec": {"displayName": prepared.pipeline, "description": description},
        },
        {
            "apiVersion": API,
            "kind": "PipelineVersion",
            "metadata": {"name": prepared.version},
            "spec": {
                "displayName": prepared.version,
                "description": description,
                "pipelineName": prepared.pipeline,
                "pipelineSpec": spec,
                "platformSpec": platform,
            },
        },
    ]


def main() -> None:
    """Write one file for each pipeline, and the kustomization that lists them."""
    folder = FOLDER / "pipelines"
    files: dict[str, Any] = {f"{name}.yaml": native_objects(name) for name in PIPELINES}
    files["kustomization.yaml"] = [
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": list(files),
        }
    ]
    for old in folder.glob("*.yaml"):  # only now: a pipeline that does not compile deletes nothing
        old.unlink()
    for name, made in files.items():
        written = yaml.safe_dump_all(made, sort_keys=False, width=100)
        (folder / name).write_text(HEADER + written, encoding="utf-8")


if __name__ == "__main__":
    main()
