"""Whole folders to a store and back, verified; single files from anywhere."""

import dataclasses
import hashlib
import os

import pytest

from soda.errors import StorageError
from soda.storage import Content, Place, download_tree, upload_tree


@pytest.fixture
def folder(tmp_path):
    """A folder of small files and a large one."""
    files = {"rows.jsonl": b"{}\n", "sub/empty": b"", "sub/weights": os.urandom(11_000_000)}
    for name, data in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "folder"


def manifest(folder):
    return {
        path.relative_to(folder).as_posix(): Content.of(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_goes_up_and_comes_down_with_a_bar(store, folder, tmp_path, capsys):
    upload_tree(folder, store, "artifacts/abc", label="upload")
    assert [entry.name for entry in store.list()] == [
        f"artifacts/abc/{name}" for name in sorted(manifest(folder))
    ]
    files = manifest(folder)
    download_tree(store, "artifacts/abc", files, tmp_path / "back", label="download")
    assert manifest(tmp_path / "back") == files
    shown = capsys.readouterr().err
    assert "upload: 11.0M/11.0M" in shown and "download: 11.0M/11.0M" in shown and "B/s" in shown


def test_little_has_no_bar(tmp_path, folder, capsys):
    (folder / "sub" / "weights").unlink()
    upload_tree(folder, Place.of(tmp_path / "store").open(), "", label="upload")
    assert capsys.readouterr().err == ""
    assert manifest(tmp_path / "store").keys() - {".soda-lock", "sub/.soda-lock"} == {
        "rows.jsonl",
        "sub/empty",
    }


@pytest.mark.parametrize(
    ("fact", "value", "found"),
    [("sha256", "0" * 64, "expected sha256 0000"), ("bytes", 4, "expected 4 bytes, found 3")],
)
def test_another_file_than_the_manifest_says_is_refused(
    store, folder, tmp_path, fact, value, found
):
    (folder / "sub" / "weights").unlink()
    upload_tree(folder, store, "a", label="upload")
    files = manifest(folder)
    files["rows.jsonl"] = dataclasses.replace(files["rows.jsonl"], **{fact: value})
    with pytest.raises(StorageError, match=f"{store.url}/a/rows.jsonl: {found}"):
        download_tree(store, "a", files, tmp_path / "back", label="download")
    assert "rows.jsonl" not in [path.name for path in (tmp_path / "back").iterdir()]
    assert not list((tmp_path / "back").glob(".*"))


def test_a_manifest_cannot_write_elsewhere(tmp_path):
    store = Place.of(tmp_path / "store").open()
    store.write("evil", b"x")
    files = {"../evil": Content(1, hashlib.sha256(b"x").hexdigest())}
    with pytest.raises(StorageError, match="expected a relative name"):
        download_tree(store, "", files, tmp_path / "back", label="download")
    assert not (tmp_path / "evil").exists()


def test_nothing_to_move_is_fine(tmp_path):
    download_tree(Place.of(tmp_path).open(), "a", {}, tmp_path / "back", label="download")
    assert not (tmp_path / "back").exists()
