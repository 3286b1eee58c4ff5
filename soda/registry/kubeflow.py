"""A version's entry in a Kubeflow Model Registry: where it lies, and what it was made of."""

import asyncio
import json
import logging
import math
import os
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from soda.errors import RegistryError
from soda.escape import hide_secrets, is_open_to_others
from soda.progress import say

__all__ = ["flat", "register_version"]

_TIMEOUT = 60  # seconds for everything; the client alone waits five minutes for each answer
_DIGEST = "model_digest"


def register_version(
    address: str, *, name: str, version: str, uri: str, lineage: Mapping[str, Any], author: str
) -> str:
    """Register a model's version and return its id there; a second time is no change.

    The token comes from SODA_MODEL_REGISTRY_TOKEN, and the Kubeflow run that made the version from
    SODA_RUN_ID and SODA_RUN_NAMESPACE, if they are set.

    Args:
        address: of the registry's REST API, with http:// or https:// and the port.
        uri: where the version lies.
        lineage: digests and figures, nested or not; `model_digest` says which model it is.

    Raises:
        RegistryError: no answer, a refusal, or the version is there with another model.
    """
    if not address.startswith(("http://", "https://")):
        raise RegistryError(
            f"model registry: expected http:// or https://, found '{hide_secrets(address)}'"
        )
    if is_open_to_others(address) and os.environ.get("SODA_MODEL_REGISTRY_TOKEN"):
        say(
            "warning: model registry: the token goes over plain http: others can read it; use https"
        )
    assert _DIGEST in lineage, "it says whether a version that is there is the same one"
    core = _import_client()
    import aiohttp
    import mr_openapi

    configuration = mr_openapi.Configuration(
        host=address.rstrip("/"), access_token=os.environ.get("SODA_MODEL_REGISTRY_TOKEN") or None
    )
    entry = _register(
        core.ModelRegistryAPIClient(configuration),
        name=name,
        version=version,
        uri=uri,
        metadata=flat(lineage),
        author=author,
    )
    where = f"model registry {hide_secrets(address)}: {name} version {version}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how the client hands its timeout to aiohttp
            return asyncio.run(asyncio.wait_for(entry, _TIMEOUT))
    except mr_openapi.ApiException as error:
        raise RegistryError(f"{where}: expected an answer, found {_said(error)}") from error
    except TimeoutError as error:
        raise RegistryError(f"{where}: expected an answer, found none in {_TIMEOUT} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        said = hide_secrets(" ".join(str(error).split())[:300])
        raise RegistryError(f"{where}: expected an answer, found {said}") from error


def _import_client() -> Any:
    """Import the registry's client, without the logging that it sets up for everybody."""
    handlers = list(logging.root.handlers)
    try:
        import model_registry.core as core
    except ImportError as error:
        raise RegistryError(
            "model registry: expected the package model-registry, found none; "
            "pip install 'soda-distill[model-registry]'"
        ) from error
    logging.root.handlers[:] = handlers
    return core


async def _register(
    client: Any, *, name: str, version: str, uri: str, metadata: Mapping[str, Any], author: str
) -> str:
    """Make what is missing of model, version and artifact, in that order.

    ModelRegistry.register_model makes them too, and refuses a version that is there: one that was
    killed before the artifact would stay without it for ever.
    """
    from model_registry.types import ModelArtifact, ModelVersion, RegisteredModel

    model = await _find_or_make(
        lambda: client.get_registered_model_by_params(name),
        lambda: client.upsert_registered_model(RegisteredModel(name=name, owner=author)),
    )
    made = ModelVersion(name=version, author=author, custom_properties=metadata)
    entry = await _find_or_make(
        lambda: client.get_model_version_by_params(model.id, version),
        lambda: client.upsert_model_version(made, model.id),
    )
    found = (entry.custom_properties or {}).get(_DIGEST)
    if found != metadata[_DIGEST]:
        raise RegistryError(
            f"model registry: {name} version {version}: expected model_digest "
            f"{metadata[_DIGEST]}, found {found}: the version is another model's"
        )
    artifact = ModelArtifact(name=name, uri=uri, model_format_name="safetensors", **_source())
    await _find_or_make(
        lambda: client.get_model_artifact_by_params(name, entry.id),
        lambda: client.upsert_model_version_artifact(artifact, entry.id),
    )
    return str(entry.id)


async def _find_or_make(
    find: Callable[[], Awaitable[Any]], make: Callable[[], Awaitable[Any]]
) -> Any:
    """Return what is there, or make it; another process may do so in between."""
    from mr_openapi.exceptions import ConflictException

    found = await find()
    if found is not None:
        return found
    try:
        return await make()
    except ConflictException:
        found = await find()
        if found is None:
            raise
        return found


def _source() -> dict[str, str]:
    """Return the Kubeflow run that this process is a step of, as the registry names it."""
    run = os.environ.get("SODA_RUN_ID", "")
    if not run:
        return {}
    return {
        "model_source_kind": "kfp",
        "model_source_class": "pipelinerun",
        "model_source_group": os.environ.get("SODA_RUN_NAMESPACE", ""),
        "model_source_id": run,
        "model_source_name": run,
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Return nested values under dotted names, as the few kinds that the registry keeps."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            found[f"{prefix}{key}"] = json.dumps(value)
        elif isinstance(value, float) and not math.isfinite(value):
            found[f"{prefix}{key}"] = str(value)  # JSON has no NaN
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found


def _said(error: Any) -> str:
    """Return a server's refusal: its status, its words, and what may be done."""
    try:
        words = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        words = ""
    hints = {
        401: "set SODA_MODEL_REGISTRY_TOKEN",
        403: "check what the account may do there",
        404: "is this its address, and does it know /api/model_registry/v1/?",
    }
    parts = [f"{error.status} {error.reason}", words[:300], hints.get(error.status, "")]
    return "; ".join(" ".join(part.split()) for part in parts if part)
