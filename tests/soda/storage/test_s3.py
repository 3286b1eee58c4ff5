"""A bucket of S3: what is its own; the contract of all stores is in test_store.py."""

import os
import sys

import pytest

from soda.errors import StorageError
from soda.storage import Place
from tests.fakes.objects import BUCKET


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


def test_the_folder_that_a_console_made_is_no_object(cloud):
    import boto3

    client = boto3.client("s3")
    for name in ("console/", "console/inner/", "console/inner/weights"):
        client.put_object(Bucket=BUCKET, Key=name, Body=b"" if name.endswith("/") else b"x")
    found = [entry.name for entry in Place.of(f"s3://{BUCKET}/console").open().list()]
    assert found == ["inner/weights"]


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StorageError, match=r"pip install 'soda-distill\[s3\]'"):
        Place.of("s3://bucket").open()


@pytest.mark.parametrize(
    ("configured", "endpoint", "style"),
    [
        ("virtual", "http://127.0.0.1:9000", "virtual"),
        (None, "http://127.0.0.1:9000", "path"),
        ("virtual", None, "virtual"),
        (None, None, None),
    ],
)
def test_the_addressing_style_of_the_aws_configuration_wins(
    tmp_path, monkeypatch, configured, endpoint, style
):
    config = tmp_path / "config"
    wanted = f"s3 =\n  addressing_style = {configured}\n" if configured else ""
    config.write_text(f"[default]\nregion = eu-west-1\n{wanted}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    client = Place.of("s3://bucket/prefix").open()._client
    assert (client.meta.config.s3 or {}).get("addressing_style") == style
