"""Large files in parts, several at the same time."""

import threading

import pytest

from soda.storage import parts


def test_a_size_is_cut_into_parts_without_gaps(monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 4)
    assert parts.split(10) == [(0, 4), (4, 4), (8, 2)]
    assert parts.split(0) == []


def test_after_an_error_what_waits_is_not_begun():
    begun, go = [], threading.Event()

    def task(number):
        begun.append(number)
        if number == 0:
            raise ZeroDivisionError
        go.wait(5)

    threading.Timer(0.1, go.set).start()
    with pytest.raises(ZeroDivisionError):
        parts.in_parallel([lambda number=number: task(number) for number in range(50)], 2)
    assert len(begun) < 10


def test_a_file_is_filled_from_its_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 3)
    (tmp_path / "source").write_bytes(b"0123456789")
    heard = []
    parts.write_parts(
        tmp_path / "target",
        10,
        lambda start, length: parts.read_part(tmp_path / "source", start, length),
        heard.append,
    )
    assert (tmp_path / "target").read_bytes() == b"0123456789" and sorted(heard) == [1, 3, 3, 3]


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    with parts.arriving(tmp_path / "sub" / "file") as near:
        near.write_bytes(b"x")
        assert not (tmp_path / "sub" / "file").exists()
    with pytest.raises(ZeroDivisionError), parts.arriving(tmp_path / "sub" / "file") as near:
        near.write_bytes(b"half")
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["file"]
    assert (tmp_path / "sub" / "file").read_bytes() == b"x"
