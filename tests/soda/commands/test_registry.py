"""soda registry: versions, the champion's moves, what differs, and who signed."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from soda.cli import main
from soda.registry.provenance import FILE, SIGNED, make_statement, sign
from soda.registry.registry import Registry
from soda.storage import Content
from tests.soda.registry.test_provenance import LINEAGE, pem_of


@pytest.fixture
def place(tmp_path):
    """A registry of three versions; the second is signed."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(public)
    for number in (1, 2, 3):
        folder = tmp_path / f"report-{number}"
        folder.mkdir()
        metrics = {"rouge_l": {"after": {"mean": number / 10}}}
        (folder / "report.json").write_text(json.dumps({"metrics": metrics}))
        lineage = {**LINEAGE, "model_digest": f"model-{number}"}
        statement = make_statement(lineage, {"w": Content(1, "a" * 64)}, {})
        files = {FILE: json.dumps(statement).encode()}
        if number == 2:
            files[SIGNED] = json.dumps(sign(statement, pem_of(key))).encode()
        folders = {"report": folder}
        registry = Registry(tmp_path / "registry")
        registry.add("tiny", lineage, folders=folders, card=f"# card {number}", files=files)
    return tmp_path / "registry"


@pytest.fixture
def do(place, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["registry", "--registry", str(place), *map(str, words)])
        found = capsys.readouterr()
        return ended.value.code, found.out.splitlines() or found.err.splitlines()

    return run


def test_promote_roll_back_and_list(do):
    assert do("promote", "tiny", 1) == (0, ["tiny: champion is 1, was none"])
    assert do("promote", "tiny", 3) == (0, ["tiny: champion is 3, was 1"])
    assert do("promote", "tiny", 2) == (0, ["tiny: champion is 2, was 3"])
    assert do("rollback", "tiny") == (0, ["tiny: champion is 3 again, was 2"])
    assert do("rollback", "tiny") == (0, ["tiny: champion is 1 again, was 3"])
    code, [line] = do("rollback", "tiny")
    assert code == 2 and "expected a version before, champion had none" in line
    code, lines = do("list")
    assert code == 0 and [line.endswith("champion") for line in lines] == [True, False, False]


def test_two_versions_are_compared_by_lineage_and_figures(do):
    assert do("diff", "tiny", 1, 3) == (
        0,
        [
            "folder: " + " -> ".join(_folders(do)),
            "model_digest: model-1 -> model-3",
            "score.rouge_l: 0.1 -> 0.3",
        ],
    )


def _folders(do):
    return [json.loads("\n".join(do("show", "tiny", n, "--json")[1]))["folder"] for n in (1, 3)]


def test_a_signature_is_checked_and_a_missing_one_is_no_signature(do, tmp_path):
    code, lines = do("verify", "tiny", 2, "--key", tmp_path / "key.pem")
    assert code == 0 and lines == ["tiny 2: signed by this key", f"  {'a' * 64}  model/w"]
    code, [line] = do("verify", "tiny", 1, "--key", tmp_path / "key.pem")
    assert code == 2 and "tiny 1: expected a signature, found none" in line


def test_a_registry_without_models_says_so(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["registry", "--registry", str(tmp_path / "none"), "list"])
    assert (ended.value.code, capsys.readouterr().out) == (0, "no models are registered here\n")


def test_what_is_not_there_is_refused_in_one_line(do):
    for words in (
        ("promote", "tiny", 9),
        ("list", "other"),
        ("show", "tiny", 9),
        ("diff", "a", 1, 2),
    ):
        code, lines = do(*words)
        assert code == 2 and len(lines) == 1 and lines[0].startswith("soda: ")
    assert do("show", "tiny", 2) == (0, ["# card 2"])
