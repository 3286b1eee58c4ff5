"""One contract for a folder, a GCS bucket and an S3 bucket."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from soda.errors import MissingObject, StorageError
from soda.storage import Place, gcs, s3
from tests.fakes.objects import BUCKET, faulty


def nothing(count):
    """Hear of bytes and say nothing."""


def at_once(count, work):
    start = threading.Barrier(count)

    def one(number):
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def one_line(refusal, *facts):
    text = str(refusal.value)
    assert "\n" not in text and all(fact in text for fact in facts), text


def test_what_is_written_is_read(store):
    for name, data in [("a", b"one"), ("b/c d+ä", b""), ("a", b"two")]:
        version = store.write(name, data)
        assert store.read(name) == (data, version)


def test_a_listing_is_sorted_and_begins_with_the_prefix(store):
    versions = {name: store.write(name, name.encode()) for name in ("b/2", "b/1", "a", "b-1", "c")}
    assert [entry.name for entry in store.list()] == ["a", "b-1", "b/1", "b/2", "c"]
    assert [(e.name, e.size, e.version) for e in store.list("b/")] == [
        (name, 3, versions[name]) for name in ("b/1", "b/2")
    ]
    assert [entry.name for entry in store.list("b")] == ["b-1", "b/1", "b/2"]
    assert list(store.list("none")) == []


def test_a_store_below_a_store_sees_its_part(store, place):
    store.write("sub/a", b"x")
    assert Place.of(f"{place}/sub").open().read("a")[0] == b"x"


def test_what_is_not_there_is_missing_and_may_be_deleted(store, tmp_path):
    store.write("a", b"x")
    for _ in range(2):
        store.delete("a")
        with pytest.raises(MissingObject) as refusal:
            store.read("a")
        one_line(refusal, store.url, "expected", "found nothing there")
    with pytest.raises(MissingObject):
        store.download("a", tmp_path / "a", nothing)
    assert store.swap("a", b"y", "1") is None
    assert list(store.list()) == [] and not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "a//b"])
def test_a_name_that_leads_elsewhere_is_refused(store, name):
    with pytest.raises(StorageError, match="expected a relative name"):
        store.write(name, b"x")


def test_create_takes_an_object_once_and_knows_its_own_bytes(store):
    version = store.create("a", b"mine")
    assert version is not None
    assert store.create("a", b"other") is None
    assert store.create("a", b"mine") == version
    assert store.read("a") == (b"mine", version)


def test_swap_takes_the_expected_version_and_knows_its_own_bytes(store):
    first = store.write("a", b"1")
    second = store.swap("a", b"2", first)
    assert second not in (None, first)
    assert store.swap("a", b"3", first) is None
    assert store.swap("a", b"2", first) == second
    assert store.read("a") == (b"2", second)


def test_of_many_that_create_one_wins(store):
    won = at_once(16, lambda number: store.create("a", str(number).encode()))
    winner = [number for number, version in enumerate(won) if version is not None]
    assert store.read("a") == (str(winner[0]).encode(), won[winner[0]]) and len(winner) == 1


def test_no_swap_of_many_is_lost(store):
    store.write("count", b"0")

    def add(number):
        for step in range(5):
            while True:
                data, version = store.read("count")
                more = f"{int(data.split()[0]) + 1} {number}.{step}"
                if store.swap("count", more.encode(), version):
                    break

    at_once(8, add)
    assert store.read("count")[0].split()[0] == b"40"


@pytest.mark.parametrize("size", [0, 1000, 12_345_678])
def test_files_of_every_size_go_up_and_come_down(store, tmp_path, size):
    (tmp_path / "file").write_bytes(data := os.urandom(size))
    sent, got = [], []
    store.upload(tmp_path / "file", "large", sent.append)
    store.download("large", tmp_path / "sub" / "back", got.append)
    back = (tmp_path / "sub" / "back").read_bytes()
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    assert sum(sent) == sum(got) == size
    assert [entry.name for entry in store.list()] == ["large"]
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["back"]


@pytest.fixture(params=["gs", "s3"])
def spoilt(request, cloud, gcs_url, s3_url, monkeypatch):
    """Open a bucket through a proxy that does what a rule says; short of patience."""
    monkeypatch.setattr(gcs, "RETRY_SECONDS", 1)
    monkeypatch.setattr(s3, "ATTEMPTS", 3)
    scheme = request.param
    with faulty({"gs": gcs_url, "s3": s3_url}[scheme], lambda method, path: "pass") as faults:
        cloud(**{scheme: faults.url})
        yield Place.of(f"{scheme}://{BUCKET}/{request.node.name}").open(), faults


def is_write(method, path):
    return method == "PUT" or (method == "POST" and "uploads" not in path)


def first(faults, wanted, fate):
    """Do it to the first request of a kind and let the others pass."""
    return lambda method, path: (
        fate if wanted(method, path) and fate not in {done for *_, done in faults.asked} else "pass"
    )


@pytest.mark.parametrize("fate", ["refuse", "lose"])
def test_a_write_that_is_answered_late_counts_as_ours(spoilt, fate):
    store, faults = spoilt
    faults.rule = first(faults, is_write, fate)
    version = store.create("a", b"mine")
    assert fate in {done for *_, done in faults.asked} and store.read("a") == (b"mine", version)
    faults.asked.clear()
    again = store.swap("a", b"more", version)
    assert fate in {done for *_, done in faults.asked} and store.read("a") == (b"more", again)


@pytest.mark.parametrize("fate", ["refuse", "lose"])
def test_an_upload_survives_an_outage_at_its_end(spoilt, tmp_path, fate):
    store, faults = spoilt
    (tmp_path / "file").write_bytes(data := os.urandom(12_345_678))
    faults.rule = first(
        faults, lambda m, path: m == "POST" and ("compose" in path or "uploadId" in path), fate
    )
    store.upload(tmp_path / "file", "large", nothing)
    faults.rule = first(faults, lambda method, path: method == "GET", fate)
    store.download("large", tmp_path / "back", nothing)
    assert fate in {done for *_, done in faults.asked}
    assert (tmp_path / "back").read_bytes() == data


def is_body(method, path):
    return method == "GET" and "projection" not in path and "list-type" not in path


def test_bytes_that_change_on_the_way_down_are_noticed(spoilt, tmp_path):
    store, faults = spoilt
    (tmp_path / "file").write_bytes(os.urandom(12_345_678))
    store.upload(tmp_path / "file", "large", nothing)
    store.write("small", b"x" * 100)
    faults.rule = first(faults, is_body, "spoil")
    with pytest.raises(StorageError) as refusal:
        store.read("small")
    one_line(refusal, store.url)
    faults.asked.clear()
    with pytest.raises(StorageError, match="expected crc32") as refusal:
        store.download("large", tmp_path / "back", nothing)
    one_line(refusal, store.url)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("spoilt", ["gs"], indirect=True)  # moto compares no checksum, S3 does
def test_bytes_that_change_on_the_way_up_are_noticed(spoilt, tmp_path):
    store, faults = spoilt
    (tmp_path / "file").write_bytes(b"good" * 3_000_000)
    faults.rule = lambda method, path: "garble"
    with pytest.raises(StorageError) as refusal:
        store.write("small", b"good")
    one_line(refusal, store.url)
    with pytest.raises(StorageError) as refusal:
        store.upload(tmp_path / "file", "large", nothing)
    one_line(refusal, store.url)


def test_an_outage_that_stays_is_one_line(spoilt, tmp_path):
    store, faults = spoilt
    faults.rule = lambda method, path: "refuse"
    (tmp_path / "file").write_bytes(b"x" * 6_000_000)
    for work in (
        lambda: store.read("a"),
        lambda: store.create("a", b"x"),
        lambda: store.upload(tmp_path / "file", "a", nothing),
    ):
        with pytest.raises(StorageError) as refusal:
            work()
        one_line(refusal, store.url, "found: ")


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_another_bucket_is_named(cloud, scheme, tmp_path):
    store = Place.of(f"{scheme}://none/a").open()
    for work in (
        lambda: store.read("a"),
        lambda: store.create("a", b"x"),
        lambda: list(store.list()),
        lambda: store.download("a", tmp_path / "a", nothing),
    ):
        with pytest.raises(StorageError, match=f"{scheme}://none/a: expected a bucket") as refusal:
            work()
        one_line(refusal, "found none of this name")


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_an_endpoint_that_is_not_there_is_one_line(cloud, scheme, monkeypatch):
    monkeypatch.setattr(gcs, "RETRY_SECONDS", 0.5)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    cloud(gs="http://user:secret@127.0.0.1:9", s3="http://user:secret@127.0.0.1:9")
    with pytest.raises(StorageError) as refusal:
        Place.of(f"{scheme}://bucket/a").open().read("a")
    one_line(refusal, f"{scheme}://bucket/a", "expected an answer")
    assert "secret" not in str(refusal.value)
