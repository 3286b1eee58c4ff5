"""A store of every kind, on real servers of this machine; one set for each test process."""

import gc
import itertools
import warnings

import pytest

from soda.storage import Place, gcs, parts, s3
from tests.fakes.objects import BUCKET, fake_gcs, fake_s3

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def gcs_url():
    with fake_gcs() as url:
        yield url


@pytest.fixture(scope="session")
def s3_url():
    with fake_s3() as url:
        yield url


@pytest.fixture
def cloud(monkeypatch, gcs_url, s3_url):
    """Point both clients at this machine's servers; another URL may take the place of theirs."""

    def point(gs=gcs_url, s3=s3_url):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gs)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3)

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(parts, "PART_BYTES", 5 * 2**20)  # the least that S3 takes
    point()
    yield point
    with warnings.catch_warnings(action="ignore"):  # clients leave their connections to the end
        gcs._client.cache_clear()
        s3._client.cache_clear()
        gc.collect()


@pytest.fixture(params=["file", "gs", "s3"])
def place(request, tmp_path):
    """A location that nothing has used yet."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    request.getfixturevalue("cloud")
    return f"{request.param}://{BUCKET}/{next(_NUMBERS)}"


@pytest.fixture
def store(place):
    return Place.of(place).open()
