"""The image references, pinned: they are part of Kubeflow's cache key."""

import os

__all__ = ["CPU", "GPU"]

# A release replaces these by digests; a build of your own sets SODA_REGISTRY when it compiles.
_REGISTRY = os.environ.get("SODA_REGISTRY", "ghcr.io/soda-distill")
CPU = f"{_REGISTRY}/soda-cpu-python:0.1.0"
GPU = f"{_REGISTRY}/soda-gpu-python:0.1.0"
