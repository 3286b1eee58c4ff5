"""A version's entry in MLflow's model registry: where it lies, and what it was made of."""

import json
import os
from collections.abc import Mapping
from typing import Any

from soda.errors import RegistryError
from soda.registry.kubeflow import flat

__all__ = ["register_in_mlflow"]

_NUMBER, _DIGEST = "soda.version", "soda.model_digest"
_LONGEST = 5000  # characters of a tag's value, in MLflow's servers and databases
_SECONDS = "30"  # for one request, which the client alone tries for minutes


def register_in_mlflow(
    address: str,
    *,
    name: str,
    version: int,
    uri: str,
    lineage: Mapping[str, Any],
    card: str,
    champion: bool,
) -> str:
    """Register a model's version and return its number there; a second time is no change.

    MLflow numbers versions itself, so ours is the tag `soda.version`. Where the version is the
    champion, MLflow's alias of that name points at it. Credentials are MLflow's own:
    MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    Args:
        address: of the server, or anything else that MLflow takes as a registry's URI.
        uri: where the version lies.

    Raises:
        RegistryError: no answer, a refusal, or the version is there with another model.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise RegistryError(
            "mlflow: expected the package mlflow-skinny, found none; "
            "pip install 'soda-distill[mlflow]'"
        ) from error
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _SECONDS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    where = f"mlflow {address}: {name} version {version}"
    tags = {_NUMBER: str(version), _DIGEST: str(lineage["model_digest"])}
    tags |= {f"soda.{key}": _short(value) for key, value in flat(lineage).items()}
    try:
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        _make_model(client, name)
        found = _find(client, name, version)
        if found is None:
            client.create_model_version(name, uri, tags=tags, description=card)
            found = _find(client, name, version)  # of two at once, both take the first
        if found is None:
            raise RegistryError(f"{where}: expected it there, found nothing after it was made")
        if found.tags[_DIGEST] != tags[_DIGEST]:
            raise RegistryError(
                f"{where}: expected model_digest {tags[_DIGEST]}, found {found.tags[_DIGEST]}: "
                "the version is another model's"
            )
        if champion:
            client.set_registered_model_alias(name, "champion", found.version)
        return str(found.version)
    except MlflowException as error:
        said = " ".join(str(error).split())[:300]
        raise RegistryError(f"{where}: expected an answer, found {said}") from error


def _make_model(client: Any, name: str) -> None:
    """Make the registered model, unless it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find(client: Any, name: str, version: int) -> Any:
    """Return the first entry that has our number."""
    quoted = name.replace("'", "")
    entries = [
        entry
        for entry in client.search_model_versions(f"name='{quoted}'")
        if entry.tags.get(_NUMBER) == str(version)
    ]
    return min(entries, key=lambda entry: int(entry.version), default=None)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
