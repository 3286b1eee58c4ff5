"""Where a pipeline is meant to run, as far as it shows."""

import json
import re
from typing import Any

from .spec import Target, Tree

__all__ = ["guess"]

# Google's own components, which call its services; its accelerators; what only Vertex fills in.
_GOOGLE = re.compile(
    r"gcr\.io/ml-pipeline/(google-cloud-pipeline-components|automl|model-evaluation|llm)"
    r"|docker\.pkg\.dev/(vertex|cloud-aiplatform)|gcr\.io/cloud-aiplatform/"
    r"|NVIDIA_[A-Z0-9_]+|TPU_V\d|\{\{\$\.pipeline_google_cloud_"
)


def guess(pipeline: Tree, executors: Tree, has_settings: bool, around: Any) -> Target:
    """Return the target: Vertex shows by Google's images and placeholders, schema or PipelineJob.

    Args:
        pipeline: as the schema has it
        executors: of its deployment
        has_settings: there are Kubernetes settings, which Vertex does not read
        around: the mapping that holds the pipeline
    """
    if has_settings:
        return "kfp"
    root = str(pipeline.get("defaultPipelineRoot", ""))
    job = isinstance(around, dict) and {"runtimeConfig", "runtime_config"} & around.keys()
    directory = "gcsOutputDirectory" in json.dumps(around.get("runtimeConfig")) if job else False
    only_there = any("customJob" in body for body in executors.values())
    # kfp 1.8 and TFX wrote this form for Vertex alone.
    old = str(pipeline.get("sdkVersion", "")).startswith(("kfp-1.", "tfx-"))
    if root.startswith("gs://") or directory or only_there or old:
        return "vertex"
    shown = [body.get("container", {}) for body in executors.values()]
    words = [[each.get("image"), each.get("args"), each.get("resources")] for each in shown]
    return "vertex" if _GOOGLE.search(json.dumps(words, default=str)) else "kfp"
