"""The image references, pinned: they are part of Kubeflow's cache key."""

import os

__all__ = ["CPU", "GPU"]

# A release sets both to digests when it compiles; a build of your own, to its own names.
CPU = os.environ.get("SODA_CPU_IMAGE", "ghcr.io/soda-distill/soda-cpu:0.1.0")
GPU = os.environ.get("SODA_GPU_IMAGE", "ghcr.io/soda-distill/soda-gpu:0.1.0")
