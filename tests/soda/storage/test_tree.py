"""Trees: regular files inside the folder, nothing followed, nothing outside."""

import os
import stat

import pytest

from soda import storage
from soda.errors import StorageError
from soda.storage import Place
from soda.storage.tree import copy_file, files_in, link_tree, make_read_only, move_tree, open_file


@pytest.fixture
def outside(tmp_path):
    """A file and a folder of somebody else."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return tmp_path / "outside"


ODD = {
    "a link to a file": lambda path, outside: path.symlink_to(outside / "secret"),
    "a link to a folder": lambda path, outside: path.symlink_to(outside),
    "a link to nothing": lambda path, outside: path.symlink_to("nowhere"),
    "a pipe": lambda path, outside: os.mkfifo(path),
}


@pytest.fixture(params=ODD)
def odd(request, tmp_path, outside):
    """A folder with a file, and with something that is none one level below."""
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_text("x")
    ODD[request.param](folder / "below" / "odd", outside)
    return folder


def test_the_files_of_a_folder_have_relative_names(tmp_path):
    for name in ("b", "a/c", "a/.hidden"):
        storage.write_atomically(tmp_path / "folder" / name, b"")
    assert list(files_in(tmp_path / "folder")) == ["a/.hidden", "a/c", "b"]
    assert files_in(tmp_path / "no such") == {}


@pytest.mark.parametrize(
    "use",
    [
        files_in,
        make_read_only,
        lambda folder: link_tree(folder, folder.parent / "target"),
        lambda folder: storage.upload_tree(
            folder, Place.of(folder.parent / "store").open(), "a", label="up"
        ),
        lambda folder: list(Place.of(folder).open().list()),
    ],
    ids=["list", "make read-only", "link", "upload", "list as a store"],
)
def test_what_is_no_regular_file_is_refused(odd, outside, use):
    with pytest.raises(StorageError, match=r"below/odd: expected a file, found a (link|pipe)"):
        use(odd)
    assert stat.S_IMODE((outside / "secret").stat().st_mode) == 0o644
    assert not (odd.parent / "target").exists() and not (odd.parent / "store" / "a").exists()
    assert not list(odd.parent.glob(".target*"))


def test_a_copy_is_of_a_regular_file_and_writes_through_no_link(tmp_path, outside):
    (tmp_path / "link").symlink_to(outside / "secret")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="link: expected a file, found a link"):
        copy_file(tmp_path / "link", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    copy_file(tmp_path / "file", tmp_path / "link")
    assert (tmp_path / "link").read_text() == "x"
    assert (outside / "secret").read_text() == "secret"


def test_a_pipe_that_nobody_fills_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="expected a file, found a pipe or device"):
        open_file(tmp_path / "pipe")
    with pytest.raises(StorageError, match="expected a file, found a pipe or device"):
        open_file(tmp_path / "pipe", "r+b", create=True)


@pytest.mark.parametrize("lock", ["lock", "store"])
def test_a_lock_that_is_a_link_leaves_its_target_alone(tmp_path, outside, lock):
    name = {"lock": "lock", "store": ".soda-lock"}[lock]
    (tmp_path / name).symlink_to(outside / "secret")
    with pytest.raises(StorageError, match=f"{name}: expected a file, found a link"):
        if lock == "lock":
            with storage.lock(tmp_path / "lock"):
                pass
        else:
            Place.of(tmp_path).open().write("a", b"")
    assert (outside / "secret").read_text() == "secret"


def test_a_store_in_a_folder_follows_no_link(tmp_path, outside):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a").symlink_to(outside)
    (tmp_path / "store" / "b").symlink_to(outside / "secret")
    store = Place.of(tmp_path / "store").open()
    for name in ("a/secret", "b"):
        for use in (
            store.read,
            store.delete,
            lambda one: store.write(one, b"x"),
            lambda one: store.create(one, b"x"),
            lambda one: store.swap(one, b"x", "v"),
            lambda one: store.upload(tmp_path / "store", one, lambda count: None),
            lambda one: store.download(one, tmp_path / "copy", lambda count: None),
        ):
            with pytest.raises(StorageError, match="expected a file or folder, found a link"):
                use(name)
    with pytest.raises(StorageError, match="found a link"):
        list(store.list("a/"))
    assert (outside / "secret").read_text() == "secret" and not (tmp_path / "copy").exists()


def test_only_the_owner_reads_a_closed_folder(tmp_path):
    storage.write_atomically(tmp_path / "folder" / "a" / "file", b"x")
    make_read_only(tmp_path / "folder")
    link_tree(tmp_path / "folder", tmp_path / "linked")
    move_tree(tmp_path / "folder", tmp_path / "moved")
    for folder in ("linked", "moved"):
        modes = [
            stat.S_IMODE((tmp_path / folder / name).stat().st_mode) for name in ("", "a", "a/file")
        ]
        assert modes == [0o700, 0o700, 0o400]


def test_in_private_everything_is_made_for_the_owner_alone(tmp_path):
    with storage.private():
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_text("x")
    (tmp_path / "after").write_text("x")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "after").stat().st_mode) == 0o644
