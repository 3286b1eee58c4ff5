"""A bucket of S3: what is its own; the contract of all stores is in test_store.py."""

import os
import sys

import pytest

from soda.errors import StorageError
from soda.storage import Place


def test_no_credentials_are_one_line(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"s3://bucket/a: .* Unable to locate credentials"):
        Place.of("s3://bucket").open().read("a")


def test_an_endpoint_that_is_no_url_is_one_line(cloud):
    cloud(s3="not a url")
    with pytest.raises(StorageError, match=r"s3://bucket: expected an URL, found: .*not a url"):
        Place.of("s3://bucket").open()


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StorageError, match=r"pip install 'soda-distill\[s3\]'"):
        Place.of("s3://bucket").open()
