"""The Kubernetes API: its client, from inside of a pod or by a kubeconfig, and every call of it."""

import json
import os
from pathlib import Path
from typing import Any

from soda.errors import ClusterError

__all__ = ["OutOfReach", "ask", "connect", "connect_from_here"]

_TIMEOUT_SECONDS = 20


class OutOfReach(ClusterError):  # noqa: N818 - it says what happened
    """The API server did not answer, or was not well: that may pass."""


def connect() -> tuple[Any, str] | None:
    """Return a Kubernetes API client and this pod's namespace, or None outside of a cluster."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None  # before the import, which needs soda-distill[kfp]
    from kubernetes import client, config
    from kubernetes.config import incluster_config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException:
        return None
    namespace = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
    return client.ApiClient(configuration), namespace.read_text(encoding="utf-8").strip()


def connect_from_here() -> Any | None:
    """Return a Kubernetes API client, in a pod or with the kubeconfig; None where there is none."""
    if (connected := connect()) is not None:
        return connected[0]
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_kube_config(client_configuration=configuration)
    except config.ConfigException:
        return None
    return client.ApiClient(configuration)


def ask(call: Any, *arguments: Any, none_for: int = 0, **named: Any) -> Any:
    """Make a call of the API and return its answer.

    Args:
        call: a method of one of the client's APIs; it gets the arguments.
        none_for: a status that is no fault here, for which None is returned.

    Raises:
        OutOfReach: there was no answer, or a status of 500 and above.
        ClusterError: Kubernetes refused.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*arguments, _request_timeout=_TIMEOUT_SECONDS, **named)
    except ApiException as error:
        if error.status == none_for:
            return None
        kind = OutOfReach if error.status >= 500 else ClusterError
        raise kind(f"Kubernetes refused {call.__name__}: {_reason(error)}") from error
    except HTTPError as error:
        raise OutOfReach(f"Kubernetes cannot be reached: {error}") from error


def _reason(error: Any) -> str:
    """Return in one line why Kubernetes refused: its own words, or the status."""
    try:
        return " ".join(str(json.loads(error.body)["message"]).split())
    except (ValueError, LookupError, TypeError):
        return f"{error.status} {error.reason}"
