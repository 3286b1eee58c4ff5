"""A real Kubeflow Pipelines, named by the environment; without it these tests are skipped.

KFP_ENDPOINT              its address
KUBECONFIG                the cluster's; or ~/.kube/config
SODA_CPU_IMAGE, SODA_GPU_IMAGE   what the steps run, as for `soda submit`
SODA_CLUSTER_NAMESPACE    where runs are; kubeflow
SODA_CLUSTER_GPU_TYPE     the resource that stands for a GPU; soda.local/slot
SODA_CLUSTER_CLAIM        the volume of the store; soda-store

In the cluster are the manifests that docs/cluster.md applies. All that a session makes bears its
own name and is deleted at its end, but for what lies on the volume.
"""

import os
import uuid
from pathlib import Path

import pytest

from tests.cluster.world import World


def pytest_collection_modifyitems(items):
    missing = [name for name in ("KFP_ENDPOINT", "SODA_CPU_IMAGE", "SODA_GPU_IMAGE")
               if not os.environ.get(name)]  # fmt: skip
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(3600))
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"no cluster: set {', '.join(missing)}"))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The cluster with a server in it, prompts and a tiny student on its volume."""
    made = World(f"soda-test-{uuid.uuid4().hex[:6]}", tmp_path_factory.mktemp("cluster"))
    try:
        made.build()
        yield made
    finally:
        made.clean()


@pytest.fixture(autouse=True)
def _quick_teacher(world):
    yield
    world.teacher(delay=0.0)


@pytest.fixture(scope="session")
def champion(world):
    """The first run: the student that it registers is the champion."""
    return world.submit("distill").expect(0)
