"""Places: an address, and the folder that stands for it; copies of what lies elsewhere."""

import os
from pathlib import Path

import pytest

from soda.errors import StorageError
from soda.storage import Place
from soda.storage.scratch import scratch


@pytest.fixture(autouse=True)
def _own_scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / "scratch"))


@pytest.mark.parametrize(
    ("location", "path"),
    [("runs/a", "runs/a"), ("file:///runs/a", "/runs/a"), (Path("/runs/a"), "/runs/a")],
)
def test_a_path_is_its_own_folder(location, path):
    place = Place.of(location)
    assert place == Place(path, Path(path), remote=False) and str(place) == path
    assert Place.of(place) is place
    assert place / "b" == Place.of(f"{path}/b")


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_place_in_a_bucket_has_a_folder_in_scratch(tmp_path, scheme):
    place = Place.of(f"{scheme}://bucket/runs/pairs/")
    assert place.remote and str(place) == f"{scheme}://bucket/runs/pairs"
    assert place.folder == scratch() / scheme / "bucket" / "runs" / "pairs"
    assert place.parent == Place.of(f"{scheme}://bucket/runs")
    assert place.parent / "pairs" == place
    with pytest.raises(StorageError, match=f"{scheme}://bucket: .* found a whole bucket"):
        _ = place.parent.parent.parent


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("ftp://host/a", "expected a path, file://, gs:// or s3://, found ftp://"),
        ("gs:///a", "found no bucket"),
        ("gs://", "found no bucket"),
        ("s3://a b/c", "found 'a b'"),
        ("s3://key:secret@bucket/a", "found a user or password"),
        ("gs://bucket/a?x=1", "found one"),
        ("gs://bucket/a/../b", "found another form"),
    ],
)
def test_a_location_of_another_form_is_refused(location, found):
    with pytest.raises(StorageError, match=found) as refusal:
        Place.of(location)
    assert "secret" not in str(refusal.value)


def test_the_store_lies_beside_a_place_or_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Place.of("out").store() == Place.of(tmp_path / ".soda")
    assert str(Place.of("gs://bucket/runs/out").store()) == "gs://bucket/runs/.soda"
    monkeypatch.setenv("SODA_STORE", "s3://bucket/store")
    assert Place.of("out").store() == Place.of("s3://bucket/store")


def test_a_path_is_fetched_as_it_is(tmp_path):
    assert Place.of(f"file://{tmp_path}/a").fetch() == tmp_path / "a"


@pytest.mark.parametrize("place", ["gs", "s3"], indirect=True)
def test_a_file_or_folder_is_fetched_and_again_when_it_changed(store, place):
    store.write("data/rows.jsonl", b"{}")
    store.write("data/rows.jsonl.bak", b"old")
    store.write("data/model/config.json", b"1")
    assert Place.of(f"{place}/data/rows.jsonl").fetch().read_bytes() == b"{}"
    folder = Place.of(f"{place}/data").fetch()
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "config.json",
        "rows.jsonl",
        "rows.jsonl.bak",
    ]
    (folder / "rows.jsonl.bak").write_bytes(b"kept")  # not read again as long as it is the same
    store.write("data/rows.jsonl", b"[]")
    assert (Place.of(f"{place}/data/").fetch() / "rows.jsonl").read_bytes() == b"[]"
    assert (folder / "rows.jsonl.bak").read_bytes() == b"kept"
    (folder / "rows.jsonl.bak").unlink()  # as what tidies up temporary folders does
    store.delete("data/model/config.json")
    Place.of(f"{place}/data").fetch()
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == {"rows.jsonl": b"[]", "rows.jsonl.bak": b"old"}


@pytest.mark.parametrize("place", ["gs", "s3"], indirect=True)
def test_what_is_not_there_is_refused(store, place):
    with pytest.raises(StorageError, match="none: expected a file or folder, found nothing there"):
        Place.of(f"{place}/none").fetch()
    with pytest.raises(StorageError, match="found a whole bucket"):
        Place.of(f"{place.partition(':')[0]}://bucket").fetch()


@pytest.mark.parametrize("odd", ["/dev/zero", "pipe"])
def test_a_source_that_is_a_pipe_or_a_device_is_refused(tmp_path, odd):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        StorageError, match=f"{odd}: expected a file or folder, found a pipe or dev"
    ):
        Place.of(tmp_path / odd).fetch()


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(
        StorageError, match=r"https://host/data\?token=\*\*\*: expected a path"
    ) as refusal:
        Place.of("https://host/data?token=secret")
    assert "secret" not in str(refusal.value)
