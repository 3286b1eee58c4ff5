"""Digests are computed once a file, and again after any write."""

import hashlib
import os
import subprocess
import sys

import pytest

from soda import storage
from soda.errors import StorageError
from soda.storage import digests


@pytest.fixture
def reads(monkeypatch, tmp_path):
    """The files that were read, in order; nothing is known yet."""
    monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(digests, "_known", {})
    found = []

    def counting(path):
        found.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digests, "file_digest", counting)
    return found


def test_a_file_is_read_once_also_under_another_name(tmp_path, reads):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    first = storage.known_digest(file)
    assert first == storage.known_digest(file) == hashlib.sha256(b"x").hexdigest()
    file.rename(tmp_path / "other")  # which sets ctime
    assert storage.known_digest(tmp_path / "other") == first
    assert len(reads) == 2


def test_a_change_that_leaves_size_and_modification_time_is_seen(tmp_path, reads):
    file = tmp_path / "file"
    file.write_bytes(b"before")
    storage.known_digest(file)
    times = file.stat()
    file.write_bytes(b"behind")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert storage.known_digest(file) == hashlib.sha256(b"behind").hexdigest()


def test_of_a_large_file_another_process_knows_too(tmp_path, reads):
    file = tmp_path / "file"
    file.write_bytes(bytes(9 * 2**20))
    digest = storage.known_digest(file)
    code = f"""if True:
        from pathlib import Path
        from soda.storage import digests
        digests.file_digest = None  # reading it would raise
        print(digests.known_digest(Path({str(file)!r})))"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == digest and len(reads) == 1


def test_what_was_just_made_is_not_read_again(tmp_path, reads):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    storage.remember_digest(file, "d" * 64)
    assert storage.known_digest(file) == "d" * 64 and not reads


@pytest.mark.parametrize("digest", [storage.file_digest, storage.known_digest])
def test_a_link_has_no_digest(tmp_path, digest):
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(StorageError, match="expected a file, found a link"):
        digest(tmp_path / "link")
