"""The manifest: written and read back, and refused in one line where it is odd."""

import json

import pytest

from soda.artifacts.manifest import Manifest
from soda.errors import ArtifactError
from soda.storage import Content

MANIFEST = Manifest(
    kind="prompts",
    stage="prepare-prompts",
    soda="0.1.0+abc",
    key="k",
    config={"limit": None, "share": 0.1},
    aside={"dataset": "a.jsonl"},
    account={"requests": 3},
    inputs={"x": "d"},
    rows={"prompts.jsonl": 1},
    drops={"duplicate": 2},
    facts={"splits": {"train": 1}},
    files={"prompts.jsonl": Content(12, "5" * 64), "a/b": Content(1, "7" * 64)},
)


def changed(**fields):
    return json.dumps({**json.loads(MANIFEST.to_bytes()), **fields}).encode()


def test_it_is_read_as_it_was_written():
    assert Manifest.read(MANIFEST.to_bytes(), "here") == MANIFEST
    written = json.loads(MANIFEST.to_bytes())
    assert written["format"] == 1
    assert written["files"]["a/b"] == {"bytes": 1, "sha256": "7" * 64}


def test_the_digest_follows_what_decides_a_result():
    same = changed(aside={}, account={}, soda="0.2.0+def", key="another")
    assert Manifest.read(same, "here").digest == MANIFEST.digest
    for fields in ({"config": {}}, {"inputs": {}}, {"facts": {}}, {"files": {}}, {"stage": "x"}):
        assert Manifest.read(changed(**fields), "here").digest != MANIFEST.digest


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{", "expected JSON, found EOF while parsing an object at line 1 column 1"),
        (b"[]", "expected a manifest, found []"),
        (b"{}", "kind: expected a value, found none"),
        (b'{"format": 99}', "format: expected 1, found 99"),
        (changed(more=1), "more: unknown field"),
        (changed(rows={"a": "3"}), "rows.a: expected a valid integer, found '3'"),
        (changed(rows=None), "rows: expected an object, found None"),
        (changed(files={"a": {"bytes": 1}}), "files.a.sha256: expected a value, found none"),
        (changed(files={"../a": {"bytes": 1, "sha256": ""}}), "expected a relative name"),
        (changed(kind="x" * 1000 + "\n", stage=1), "stage: expected a valid string, found 1"),
    ],
)
def test_another_form_is_refused_in_one_line(data, problem):
    with pytest.raises(ArtifactError) as refusal:
        Manifest.read(data, "here")
    assert str(refusal.value).startswith("here: ") and problem in str(refusal.value)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 150
