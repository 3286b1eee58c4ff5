"""A GCS bucket: what is its own; the contract of all stores is in test_store.py."""

import sys

import pytest

from soda.errors import StorageError
from soda.storage import Place


def test_no_credentials_are_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(StorageError, match="gs://bucket: expected an answer, found") as refusal:
        Place.of("gs://bucket").open()
    assert "\n" not in str(refusal.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(StorageError, match=r"pip install 'soda-distill\[cpu\]'"):
        Place.of("gs://bucket").open()
