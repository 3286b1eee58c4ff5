"""Finished parts of unfinished work, in every kind of store."""

from soda.artifacts.intermediate import Intermediate
from soda.storage import Place


def test_a_result_is_kept_under_its_name(place):
    kept = Intermediate(Place.of(place))
    assert kept.read("one.json") is None
    assert kept.write("one.json", b"1") == b"1"
    assert Intermediate(Place.of(place)).read("one.json") == b"1"


def test_of_two_writers_the_first_counts(place):
    assert Intermediate(Place.of(place)).write("one.json", b"first") == b"first"
    assert Intermediate(Place.of(place)).write("one.json", b"second") == b"first"


def test_another_key_has_results_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    first, second = (
        Intermediate.in_store(Place.of(tmp_path / "out"), "parts", key) for key in "ab"
    )
    first.write("one", b"1")
    assert second.read("one") is None
    assert (tmp_path / "store" / "parts" / "a" / "one").read_bytes() == b"1"


def test_without_a_store_they_lie_beside_the_output(tmp_path):
    Intermediate.in_store(Place.of(tmp_path / "out"), "parts", "a").write("one", b"1")
    assert (tmp_path / ".soda" / "parts" / "a" / "one").read_bytes() == b"1"
