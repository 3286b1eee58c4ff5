"""The image references, pinned: they are part of Kubeflow's cache key."""

import os

from soda import __version__

__all__ = ["CPU", "GPU"]

# A release sets both to digests when it compiles; a build of your own, to its own names.
CPU = os.environ.get("SODA_CPU_IMAGE", f"ghcr.io/soda-distill/soda-cpu:{__version__}")
GPU = os.environ.get("SODA_GPU_IMAGE", f"ghcr.io/soda-distill/soda-gpu:{__version__}")
