"""Large files as objects that the store joins: however many parts, and nothing stays."""

import pytest

from soda.errors import StorageError
from soda.storage import parts
from soda.storage.composing import upload_composed
from soda.storage.folder import FolderStore


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", 3)
    (tmp_path / "source").write_bytes(bytes(range(256)) * 13)  # 1110 parts, so three levels
    return tmp_path / "source"


def test_many_parts_are_joined_in_order_and_taken_away(tmp_path, source):
    store, joins, heard = FolderStore(tmp_path / "store"), [], []

    def compose(names, joined):
        joins.append(len(names))
        store.write(joined, b"".join(store.read(name)[0] for name in names))

    upload_composed(store, source, "large", compose, heard.append)
    assert store.read("large")[0] == source.read_bytes() and sum(heard) == 256 * 13
    assert max(joins) == 32 and len(joins) == 35 + 2 + 1
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"large", ".soda-lock"}


def test_parts_are_taken_away_after_an_error(tmp_path, source):
    store = FolderStore(tmp_path / "store")

    def compose(names, joined):
        raise StorageError("no")

    with pytest.raises(StorageError, match="no"):
        upload_composed(store, source, "large", compose, lambda count: None)
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {".soda-lock"}
