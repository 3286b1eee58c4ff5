"""Provenance: an in-toto statement of what went in, and a signature that others can check."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from soda.errors import ConfigError, RegistryError
from soda.registry.provenance import make_statement, sign, verify
from soda.storage import Content

LINEAGE = {
    "name": "tiny",
    "model_digest": "m",
    "soda": "0.1",
    "teacher": {"model": "big"},
    "train_config": {"method": "dpo"},
    "eval_config": {"split": "test"},
    "inputs": {"train": {"data": "b" * 64, "model": "c" * 64}, "eval": {"pairs": "d" * 64}},
}


def pem_of(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_of(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def statement(**environment):
    return make_statement(LINEAGE, {"model.safetensors": Content(3, "a" * 64)}, environment)


def test_the_statement_names_files_inputs_images_and_the_run():
    pinned = "ghcr.io/x/soda-gpu@sha256:" + "e" * 64
    found = statement(SODA_GPU_IMAGE=pinned, SODA_CPU_IMAGE="soda-cpu:1", SODA_RUN_ID="run-7")
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": "model/model.safetensors", "digest": {"sha256": "a" * 64}}]
    definition = found["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [
        {"uri": "soda:train/data", "digest": {"sha256": "b" * 64}},
        {"uri": "soda:train/model", "digest": {"sha256": "c" * 64}},
        {"uri": "soda:eval/pairs", "digest": {"sha256": "d" * 64}},
        {"uri": "docker:soda-cpu:1"},
        {"uri": "docker:ghcr.io/x/soda-gpu", "digest": {"sha256": "e" * 64}},
    ]
    assert found["predicate"]["runDetails"]["metadata"] == {"invocationId": "run-7"}


def test_what_was_signed_can_be_checked_and_what_was_changed_is_found():
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    envelope = sign(statement(), pem_of(key))
    assert verify(envelope, public_of(key)) == statement()
    with pytest.raises(RegistryError, match="none that fits"):
        verify(envelope, public_of(other))
    forged = json.loads(base64.b64decode(envelope["payload"])) | {"subject": []}
    envelope["payload"] = base64.b64encode(json.dumps(forged).encode()).decode()
    with pytest.raises(RegistryError, match="none that fits"):
        verify(envelope, public_of(key))
    with pytest.raises(RegistryError, match="expected a DSSE envelope"):
        verify({"payload": "?"}, public_of(key))


def test_another_implementation_of_dsse_finds_the_same_signature_good():
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    key = Ed25519PrivateKey.generate()
    envelope = sign(statement(), pem_of(key))
    theirs = signer.SSlibKey.from_crypto(key.public_key())
    envelope["signatures"][0]["keyid"] = theirs.keyid  # ours names none, which DSSE allows
    dsse.Envelope.from_dict(envelope).verify([theirs], 1)


def test_without_a_key_nothing_is_signed_and_a_wrong_one_is_refused_unshown(
    monkeypatch,
):
    monkeypatch.delenv("SODA_SIGNING_KEY", raising=False)
    assert sign(statement()) is None
    monkeypatch.setenv("SODA_SIGNING_KEY", "canary-9")
    with pytest.raises(ConfigError, match="SODA_SIGNING_KEY: expected a private key") as caught:
        sign(statement())
    assert "canary" not in str(caught.value)
    with pytest.raises(ConfigError, match="expected an Ed25519 key"):
        sign(statement(), pem_of(generate_private_key(SECP256R1())))
