"""Every test of the manifests runs on every folder and every composition."""

from typing import Any

import pytest

from tests.manifests.rendered import COMPOSED, FOLDERS, objects


@pytest.fixture(params=[*FOLDERS, *COMPOSED])
def stack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def made(stack: str) -> tuple[dict[str, Any], ...]:
    return objects(stack)
