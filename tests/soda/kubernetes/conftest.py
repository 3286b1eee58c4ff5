"""A cluster around the test: its API is on loopback, and this process is a pod of it."""

import pytest

from tests.fakes.kubernetes import fake_kubernetes, inside


@pytest.fixture
def cluster(monkeypatch):
    with fake_kubernetes() as fake:
        inside(fake, monkeypatch)
        yield fake
