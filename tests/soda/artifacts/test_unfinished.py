"""Unfinished work in a store: snapshots of a folder that another machine goes on from."""

import hashlib

import pytest

from soda.artifacts.unfinished import UnfinishedWork
from soda.errors import StorageError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def machine(store, tmp_path):
    """Return a function that gives the work as a machine of that name sees it."""

    def work(name, check=lambda: None, clock=Clock()):  # noqa: B008
        folder = tmp_path / name / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder, UnfinishedWork(store, folder, check, clock)

    return work


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_another_machine_goes_on_from_the_last_snapshot(machine, store):
    here, mine = machine("here")
    assert not mine.pull()
    (here / "sub").mkdir()
    (here / "sub" / "a").write_text("1")
    (here / "b").write_text("2")
    mine.push()
    (here / "b").write_text("not pushed")
    there, theirs = machine("there")
    (there / "stale").write_text("of an earlier try")
    assert theirs.pull()
    assert contents(there) == {"sub/a": "1", "b": "2"}
    theirs.remove()
    assert list(store.list()) == []


def test_equal_files_come_back_as_files_of_their_own(machine):
    here, mine = machine("here")
    for name in ("a", "b", "sub/c"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("same")
    mine.push()
    there, theirs = machine("there")
    theirs.pull()
    with (there / "a").open("a") as file:
        file.write(" no more")
    assert contents(there) == {"a": "same no more", "b": "same", "sub/c": "same"}


def test_the_machine_that_pushed_last_keeps_what_it_did_since(machine):
    here, mine = machine("here")
    (here / "a").write_text("1")
    mine.push()
    (here / "a").write_text("later")
    _, again = machine("here")
    assert not again.pull() and contents(here) == {"a": "later"}


def test_a_snapshot_sends_what_is_new_and_deletes_what_is_old(machine, store):
    here, mine = machine("here")
    for text in ("one", "two"):
        (here / "changes").write_text(text)
        (here / "stays").write_text("same")
        mine.push()
    assert len(list(store.list("objects/"))) == 2


def test_pushing_waits_ten_seconds_unless_it_has_to_be_now(machine):
    clock = Clock()
    here, mine = machine("here", clock=clock)
    looks = []
    for second, now, text in [(0, False, "a"), (9, False, "b"), (9, True, "c"), (20, False, "d")]:
        clock.now = second
        (here / "file").write_text(text)
        mine.push(now=now)
        there, theirs = machine(f"there-{len(looks)}")
        theirs.pull()
        looks.append(contents(there)["file"])
    assert looks == ["a", "a", "c", "d"]


def test_pushing_takes_a_tenth_of_the_time_at_most(machine):
    clock = Clock()

    def slow():
        clock.now += 5.0

    here, mine = machine("here", check=slow, clock=clock)
    (here / "file").write_text("x")
    mine.push(now=False)
    clock.now = 54.0
    mine.push(now=False)
    assert clock.now == 54.0
    clock.now = 56.0
    mine.push(now=False)
    assert clock.now == 61.0


def test_who_lost_the_lease_pushes_nothing(machine, store):
    def lost():
        raise StorageError("expected to hold the lease")

    here, mine = machine("here", check=lost)
    (here / "a").write_text("1")
    with pytest.raises(StorageError, match="expected to hold the lease"):
        mine.push()
    assert list(store.list()) == []


def test_of_two_holders_the_second_push_is_refused(machine):
    (here, mine), (there, theirs) = machine("here"), machine("there")
    (here / "a").write_text("1")
    (there / "a").write_text("2")
    mine.push()
    with pytest.raises(StorageError, match="another run is at work on this"):
        theirs.push()


@pytest.mark.parametrize(
    "index",
    [
        b'{"../../outside": {"bytes": 1, "sha256": "%s"}}',
        b'{"/tmp/outside": {"bytes": 1, "sha256": "%s"}}',
        b'{"a": {"bytes": 1, "sha256": "../../outside", "also": "%s"}}',
        b'["%s"]',
    ],
)
def test_an_index_that_names_files_elsewhere_is_refused(machine, store, tmp_path, index):
    digest = hashlib.sha256(b"x").hexdigest()
    store.write(f"objects/{digest}", b"x")
    store.write("index.json", index % digest.encode())
    _, work = machine("here")
    with pytest.raises(StorageError, match=r"index\.json: expected an index of files"):
        work.pull()
    assert not list(tmp_path.rglob("outside"))


def test_a_link_in_the_work_is_not_pushed(machine, store):
    here, work = machine("here")
    (here / "link").symlink_to("/etc/hostname")
    with pytest.raises(StorageError, match="link: expected a file, found a link"):
        work.push()
    assert list(store.list()) == []
