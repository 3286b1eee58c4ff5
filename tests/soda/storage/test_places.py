"""Where things lie: folders that stand for locations, and copies of what is elsewhere."""

import pytest

from soda.errors import StorageError
from soda.storage.places import fetch, local_folder, remote_location, scratch, store_of


@pytest.fixture(autouse=True)
def _own_scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / "scratch"))


def test_a_folder_stands_for_a_location_and_back(tmp_path, cloud):
    folder = local_folder("gs://bucket/runs/pairs/")
    assert folder == tmp_path / "scratch" / "gs" / "bucket" / "runs" / "pairs"
    assert remote_location(folder) == "gs://bucket/runs/pairs"
    assert remote_location(folder.parent / ".soda") == "gs://bucket/runs/.soda"
    assert local_folder(f"file://{tmp_path}/x") == tmp_path / "x"
    assert remote_location(tmp_path / "x") is None and remote_location(scratch()) is None


def test_the_store_lies_beside_out_or_where_the_environment_says(tmp_path, cloud, monkeypatch):
    assert store_of(tmp_path / "out") == tmp_path / ".soda"
    monkeypatch.setenv("SODA_STORE", "s3://bucket/store")
    assert remote_location(store_of(tmp_path / "out")) == "s3://bucket/store"


def test_the_scratch_folder_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.delenv("SODA_SCRATCH")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert scratch().stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr("os.getuid", lambda: 12345)
    scratch_of_another = tmp_path / "soda-12345"
    scratch_of_another.mkdir()
    with pytest.raises(StorageError, match="expected a folder of this user; set SODA_SCRATCH"):
        scratch()


def test_a_path_is_fetched_as_it_is(tmp_path):
    assert fetch(tmp_path / "a") == tmp_path / "a" == fetch(f"file://{tmp_path}/a")


@pytest.mark.parametrize("place", ["gs", "s3"], indirect=True)
def test_a_file_or_folder_is_fetched_and_again_when_it_changed(store, place):
    store.write("data/rows.jsonl", b"{}")
    store.write("data/rows.jsonl.bak", b"old")
    store.write("data/model/config.json", b"1")
    assert fetch(f"{place}/data/rows.jsonl").read_bytes() == b"{}"
    folder = fetch(f"{place}/data")
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "config.json",
        "rows.jsonl",
        "rows.jsonl.bak",
    ]
    (folder / "rows.jsonl.bak").write_bytes(b"kept")  # not read again as long as it is the same
    store.write("data/rows.jsonl", b"[]")
    assert (fetch(f"{place}/data/") / "rows.jsonl").read_bytes() == b"[]"
    assert (folder / "rows.jsonl.bak").read_bytes() == b"kept"


@pytest.mark.parametrize("place", ["gs", "s3"], indirect=True)
def test_what_is_not_there_is_refused(store, place):
    with pytest.raises(StorageError, match="none: expected a file or folder, found nothing there"):
        fetch(f"{place}/none")
    with pytest.raises(StorageError, match="expected a file or folder, found a whole bucket"):
        fetch(f"{place.partition(':')[0]}://bucket")
