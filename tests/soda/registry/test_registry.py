"""The registry, in a folder and in buckets: immutable versions, and aliases that move."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from soda.errors import RegistryError, StorageError
from soda.registry.registry import Registry
from soda.storage import Place


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"12")
    (folder / "README.md").write_text("the artifact's own")
    return folder


def add(place, model, digest, **more):
    folders = {"model": model, "report": model}
    return Registry(place).add("tiny", {"model_digest": digest, **more}, folders=folders, card="#")


def test_versions_are_numbered_and_a_model_keeps_its_own(place, store, model):
    assert [add(place, model, digest) for digest in ("a", "b", "a")] == [1, 2, 1]
    registry = Registry(place)
    lineage = registry.lineage("tiny", 2)
    assert lineage["model_digest"] == "b"
    folder = f"tiny/models/{lineage['folder']}"
    assert registry.place_of("tiny", 2) == Place.of(place) / folder
    held = {"model/weights": b"12", "report/weights": b"12", "report/README.md": None}
    held |= {"model/README.md": b"#", "README.md": b"#", "lineage.json": None}
    names = [entry.name.removeprefix(f"{folder}/") for entry in store.list(f"{folder}/")]
    assert names == sorted(held)
    for name, data in held.items():
        assert data is None or store.read(f"{folder}/{name}")[0] == data
    assert json.loads(store.read(f"{folder}/lineage.json")[0]) == lineage


def test_a_version_on_a_disk_is_a_read_only_copy(tmp_path, model):
    add(tmp_path / "registry", model, "a")
    folder = Registry(tmp_path / "registry").place_of("tiny", 1).folder
    assert not any(path.stat().st_mode & 0o222 for path in folder.rglob("*") if path.is_file())
    (model / "weights").write_bytes(b"edited")
    assert (folder / "model" / "weights").read_bytes() == b"12"


def test_what_a_killed_run_left_is_taken_up(tmp_path, model):
    place = tmp_path / "registry"
    add(place, model, "a")
    (place / "tiny" / "versions" / "1.json").unlink()  # the last that a run writes
    assert add(place, model, "a") == 1
    assert len(list((place / "tiny" / "models").iterdir())) == 1
    assert add(place, model, "b", report_digest="1") == 2


def test_who_register_at_once_get_different_versions(place, model):
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda number: add(place, model, f"d{number}"), range(8)))
    assert sorted(versions) == list(range(1, 9))


def test_an_alias_moves_from_what_was_seen(place):
    registry = Registry(place)
    assert registry.alias("tiny", "champion") is None
    registry.move_alias("tiny", "champion", 2, seen=None)
    assert registry.alias("tiny", "champion") == 2
    registry.move_alias("tiny", "champion", 1, seen=2)  # back, on purpose
    assert registry.alias("tiny", "champion") == 1


def test_an_alias_that_a_newer_version_took_meanwhile_stays(place):
    registry = Registry(place)
    registry.move_alias("tiny", "champion", 3, seen=None)
    registry.move_alias("tiny", "champion", 2, seen=None)
    assert registry.alias("tiny", "champion") == 3
    registry.move_alias("tiny", "champion", 4, seen=None)
    assert registry.alias("tiny", "champion") == 4


def test_of_many_who_move_an_alias_at_once_the_newest_wins(place):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda version: Registry(place).move_alias("a", "b", version, seen=None),
                range(1, 17),
            )
        )
    assert Registry(place).alias("a", "b") == 16


def test_a_location_that_is_none_is_refused():
    with pytest.raises(StorageError, match="found ftp://"):
        Registry("ftp://host/registry")


def test_fifty_promotions_at_once_leave_one_winner_and_the_whole_history(place, model):
    for number in range(1, 4):
        add(place, model, f"d{number}")
    wanted = [1 + number % 3 for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda each: Registry(place).promote("tiny", "champion", each), wanted))
    registry = Registry(place)
    history = [move.version for move in registry.history("tiny", "champion")]
    assert sorted(history) == sorted(wanted) and registry.alias("tiny", "champion") == history[-1]


def test_a_version_that_is_not_there_cannot_be_promoted(place, model):
    add(place, model, "a")
    registry = Registry(place)
    with pytest.raises(RegistryError, match="expected a version, found 2; known: 1"):
        registry.promote("tiny", "champion", 2)
    with pytest.raises(RegistryError, match="found no 'other'; known: tiny"):
        registry.promote("other", "champion", 1)
    assert registry.alias("tiny", "champion") is None
