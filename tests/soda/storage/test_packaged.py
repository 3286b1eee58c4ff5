"""Files in installed packages."""

import json
from pathlib import Path

import pytest

from soda.errors import StorageError
from soda.storage.packaged import local_file, packaged_file


def test_a_file_of_a_package_is_found_and_other_locations_are_not_for_here():
    assert packaged_file("package:json/decoder.py") == Path(json.__file__).parent / "decoder.py"
    assert packaged_file("json/decoder.py") is packaged_file("gs://json/decoder.py") is None


def test_a_file_is_found_in_a_package_and_in_a_folder_alike(tmp_path):
    assert local_file("package:json/decoder.py") == Path(json.__file__).parent / "decoder.py"
    assert local_file(str(tmp_path / "rows.jsonl")) == tmp_path / "rows.jsonl"


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("package:nosuchpackage/x", "expected the package 'nosuchpackage', found none"),
        ("package:no.such/x", "expected the package 'no.such', found none"),
        ("package:json/no-such-file", "expected 'no-such-file' in json, found none"),
        ("package:json", "expected '' in json"),
    ],
)
def test_what_is_not_there_is_refused(location, problem):
    with pytest.raises(StorageError, match=problem):
        packaged_file(location)
