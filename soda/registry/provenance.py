"""Where a version comes from, as a statement that others can check: in-toto and SLSA.

The statement is an in-toto Statement v1 with SLSA's provenance v1 as its predicate; signed, it
lies in a DSSE envelope (github.com/secure-systems-lab/dsse, version 1.0).
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from soda.errors import ConfigError, RegistryError
from soda.storage import Content

__all__ = ["FILE", "KEY_VARIABLE", "SIGNED", "make_statement", "sign", "verify"]

FILE, SIGNED = "provenance.json", "provenance.dsse.json"
KEY_VARIABLE = "SODA_SIGNING_KEY"
_TYPE = "application/vnd.in-toto+json"
_BUILD_TYPE = "https://github.com/soda-distill/soda/registration/v1"
_DIGEST = re.compile(r"(.+)@sha256:([0-9a-f]{64})")
_IMAGES = ("SODA_CPU_IMAGE", "SODA_GPU_IMAGE")


def make_statement(
    lineage: Mapping[str, Any], files: Mapping[str, Content], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return the statement on a version.

    Args:
        lineage: what the version was made of.
        files: of the model: each is a subject.
        environment: images and the run are read from it, where they are set.
    """
    inputs = [
        {"uri": f"soda:{stage}/{name}", "digest": {"sha256": digest}}
        for stage, named in lineage["inputs"].items()
        for name, digest in sorted(named.items())
    ]
    run = environment.get("SODA_RUN_ID", "")
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": f"model/{name}", "digest": {"sha256": content.sha256}}
            for name, content in sorted(files.items())
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "name": lineage["name"],
                    "train": lineage["train_config"],
                    "eval": lineage["eval_config"],
                    "teacher": lineage["teacher"]["model"],
                },
                "internalParameters": {"soda": lineage["soda"]},
                "resolvedDependencies": [*inputs, *_images(environment)],
            },
            "runDetails": {
                "builder": {"id": "https://github.com/soda-distill/soda"},
                "metadata": {"invocationId": run} if run else {},
            },
        },
    }


def _images(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the images that the steps ran in, with their digests where they are pinned."""
    found = []
    for variable in _IMAGES:
        reference = environment.get(variable, "")
        pinned = _DIGEST.fullmatch(reference)
        if pinned:
            found.append({"uri": f"docker:{pinned[1]}", "digest": {"sha256": pinned[2]}})
        elif reference:
            found.append({"uri": f"docker:{reference}"})
    return found


def sign(statement: Mapping[str, Any], key: str | None = None) -> dict[str, Any] | None:
    """Return the statement in a signed envelope; None without a key.

    Args:
        key: an Ed25519 private key in PEM; SODA_SIGNING_KEY, if left out.

    Raises:
        ConfigError: it is no such key.
    """
    pem = os.environ.get(KEY_VARIABLE, "") if key is None else key
    if not pem.strip():
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{KEY_VARIABLE}: expected a private key in PEM, found none") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{KEY_VARIABLE}: expected an Ed25519 key, found another kind")
    payload = json.dumps(statement, sort_keys=True).encode()
    signature = private.sign(_encoded(payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": _TYPE,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }


def verify(envelope: Mapping[str, Any], public_key: bytes) -> dict[str, Any]:
    """Return the statement in an envelope that a key has signed.

    Args:
        public_key: Ed25519, in PEM.

    Raises:
        RegistryError: it has not, or there is no such key or envelope.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RegistryError("expected a public key in PEM, found none") from error
    if not isinstance(public, Ed25519PublicKey):
        raise RegistryError("expected an Ed25519 public key, found another kind")
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(each["sig"]) for each in envelope["signatures"]]
    except (KeyError, TypeError, binascii.Error) as error:
        raise RegistryError("expected a DSSE envelope, found something else") from error
    for signature in signatures:
        try:
            public.verify(signature, _encoded(payload, str(envelope.get("payloadType"))))
        except InvalidSignature:
            continue
        statement: dict[str, Any] = json.loads(payload)
        return statement
    raise RegistryError("expected a signature by this key, found none that fits")


def _encoded(payload: bytes, kind: str = _TYPE) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)
