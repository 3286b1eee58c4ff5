"""A folder as a store: what is its own; the contract of all stores is in test_store.py."""

import hashlib

import pytest

from soda.errors import MissingObject, StorageError
from soda.storage.folder import FolderStore


@pytest.fixture
def folder(tmp_path):
    return FolderStore(tmp_path)


def test_the_version_of_a_file_is_its_sha256(folder):
    assert folder.write("a", b"x") == hashlib.sha256(b"x").hexdigest()


def test_locks_and_unfinished_files_are_not_listed(folder, tmp_path):
    folder.write("sub/a", b"x")
    (tmp_path / "sub" / f".b.{'0' * 32}").write_text("half")
    assert (tmp_path / "sub" / ".soda-lock").exists()
    assert [entry.name for entry in folder.list()] == ["sub/a"]


def test_stores_with_different_roots_share_one_lock(folder, tmp_path):
    version = folder.write("sub/count", b"0")
    assert FolderStore(tmp_path / "sub").swap("count", b"1", version)
    assert folder.swap("sub/count", b"2", version) is None


def test_a_folder_is_no_object(folder, tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(MissingObject, match="sub: expected a file, found nothing there"):
        folder.read("sub")


def test_a_root_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="found: Not a directory"):
        FolderStore(tmp_path / "file" / "sub").write("a", b"x")
