"""Storage on real disks: whole files or none, one line where a disk is full or read-only."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import soda
from soda import storage
from soda.artifacts.kinds import Prompts
from soda.errors import StorageError


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 KiB, apart from the one that holds everything else."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def prepare(tmp_path, out, rows):
    dataset = tmp_path / "data.jsonl"
    lines = [json.dumps({"prompt": f"{number} " + "x" * 200}) for number in range(rows)]
    dataset.write_text("\n".join(lines))
    return soda.run("prepare-prompts", inputs={}, config={"dataset": str(dataset)}, out=out)


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("rows", [500, 45, 35], ids=["early", "at the last row", "at the manifest"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, disk, rows):
    (disk / "fill").write_bytes(b"x" * 13 * 4096)
    with pytest.raises(StorageError, match="found: No space left on device") as refusal:
        prepare(tmp_path, disk / "out", rows)
    assert "\n" not in str(refusal.value)
    assert files(disk) == ["fill"] and not (disk / "out").exists()


def test_a_full_disk_at_out_is_one_line_though_the_store_has_room(tmp_path, disk, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    (disk / "fill").write_bytes(b"x" * 60_000)
    for _ in ("made", "taken from the store"):
        with pytest.raises(StorageError, match="found: No space left on device"):
            prepare(tmp_path, disk / "out", 20)
        assert files(disk) == ["fill"] and not list(disk.glob(".out*"))
    (disk / "fill").unlink()
    assert len(prepare(tmp_path, disk / "out", 20)) == 20


def test_a_full_disk_is_known_when_weights_are_saved(disk):
    import numpy as np
    from safetensors.numpy import save_file

    with pytest.raises(StorageError, match="No space left"), storage.explain_os_errors():
        save_file({"weight": np.zeros(100_000)}, disk / "model.safetensors")


def test_a_read_only_disk_is_one_line(tmp_path, disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StorageError, match="expected to write, found: Read-only file system"):
        prepare(tmp_path, disk / "out", 2)


def test_an_out_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="found: Not a directory"):
        prepare(tmp_path, tmp_path / "file" / "out", 2)


def test_an_out_where_nothing_can_be_made_is_refused(tmp_path):
    with pytest.raises(StorageError, match="expected to write, found that it cannot be made"):
        prepare(tmp_path, Path("/proc/no/out"), 2)


def test_a_file_that_cannot_be_read_is_one_line():
    broken = Path("/proc/self/mem")  # whose first bytes are an input/output error
    with pytest.raises(StorageError, match="mem: expected a file, found an error: Input/output"):
        storage.file_digest(broken)
    with pytest.raises(StorageError, match="found: Input/output"), storage.explain_os_errors():
        broken.read_bytes()


def test_errors_that_are_no_full_disk_stay_what_they_are():
    with pytest.raises(FileNotFoundError), storage.explain_os_errors():
        Path("/no/such/file").read_text()
    with pytest.raises(KeyError), storage.explain_os_errors():
        raise KeyError("x")


def test_a_file_is_written_whole_or_stays_as_it_was(disk):
    storage.write_atomically(disk / "a" / "file", b"old")
    with pytest.raises(OSError, match="No space left"):
        storage.write_atomically(disk / "a" / "file", b"x" * 100_000)
    assert (disk / "a" / "file").read_bytes() == b"old" and files(disk) == ["file"]


@pytest.mark.parametrize("target", ["target", "disk/target"], ids=["same disk", "other disk"])
def test_a_folder_is_moved_whole_and_never_over_another(tmp_path, disk, target):
    target = tmp_path / target
    for text in ("first", "second"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "file").write_text(text)
    storage.move_tree(tmp_path / "first", target)
    with pytest.raises(StorageError, match="expected nothing there, found a file or folder"):
        storage.move_tree(tmp_path / "second", target)
    assert (target / "file").read_text() == "first" and not (tmp_path / "first").exists()
    assert (tmp_path / "second" / "file").exists()
    assert not list(target.parent.glob(".target*"))


@pytest.mark.parametrize("target", ["target", "disk/target"], ids=["same disk", "other disk"])
def test_a_tree_is_linked_where_the_disk_can_and_copied_elsewhere(tmp_path, disk, target):
    source, target = tmp_path / "source", tmp_path / target
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("x")
    storage.make_read_only(source)
    storage.link_tree(source, target)
    file = target / "sub" / "file"
    assert file.read_text() == "x" and not file.stat().st_mode & 0o222
    assert file.samefile(source / "sub" / "file") is (target.parent == tmp_path)


def test_a_lock_holds_against_another_process_until_that_one_dies(tmp_path):
    code = f"""if True:
        import pathlib, sys, time
        from soda import storage
        with storage.lock(pathlib.Path({str(tmp_path)!r}, "work", "lock")):
            print("held", flush=True)
            time.sleep(60)"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(StorageError, match="work: another run is at work on this"),
            storage.lock(tmp_path / "work" / "lock"),
        ):
            pass
        holder.kill()
    with storage.lock(tmp_path / "work" / "lock"):
        pass


def test_an_artifact_on_another_disk_than_the_store_opens(tmp_path, disk, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    made = prepare(tmp_path, disk / "out", 3)
    assert Prompts.open(disk / "out", verify=True).digest == made.digest
