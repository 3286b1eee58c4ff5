"""kfp's client, made so that it asks nothing, prints nothing and writes nothing by itself."""

import contextlib
import io
import json
import logging
import os
import warnings
from typing import Any

import kfp
import kfp_server_api
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from soda.errors import ClusterError

__all__ = ["HOST_HELP", "TIMEOUT", "KfpClient", "make_client"]

HOST_HELP = "Kubeflow Pipelines (default: KFP_ENDPOINT, else what kfp itself finds)"

TIMEOUT = (10, 60)  # seconds to connect and to answer; without one kfp waits for ever


class KfpClient(kfp.Client):  # type: ignore[misc]  # kfp has no types
    """kfp's client: its login, its addresses, its generated API."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Ask nothing: kfp's constructor asks five times, with tracebacks, for 25 s to say 401.

        And if the answer is "multi-user", it writes the pod's namespace into a file in the home.
        """
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)

    def is_answering(self) -> bool:
        """Ask whether the API is there; a login page answers too, with 200 and HTML."""
        self._healthz_api.healthz_service_get_healthz(_request_timeout=TIMEOUT)
        try:
            return isinstance(json.loads(self._healthz_api.api_client.last_response.data), dict)
        except ValueError:
            return False

    def address(self) -> str:
        """Return where the API is."""
        return str(self._existing_config.host)

    def link(self, run: str) -> str:
        """Return a run's page."""
        return f"{self._get_url_prefix()}/#/runs/details/{run}"


def make_client(host: str | None) -> KfpClient:
    """Return a client with the address and the credentials that kfp finds; nothing is sent.

    Args:
        host: the address; else KFP_ENDPOINT, else what kfp takes: KF_PIPELINES_ENDPOINT, in a pod
            the service, elsewhere what the kubeconfig says.

    Raises:
        ClusterError: there is no address.
    """
    host = host or os.environ.get("KFP_ENDPOINT") or os.environ.get("KF_PIPELINES_ENDPOINT")
    in_pod = "KF_PIPELINES_SA_TOKEN_PATH" in os.environ
    credentials = ServiceAccountTokenVolumeCredentials() if in_pod else None
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of every attempt
    quiet = contextlib.nullcontext() if host else contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), quiet:
        warnings.simplefilter("ignore")  # that it speaks to v2 only
        # No namespace here: to kfp it is the one in which Kubeflow itself runs.
        client = KfpClient(host=host, credentials=credentials)
    if not host and client.address() == "http://localhost":
        raise ClusterError(
            "expected the address of Kubeflow Pipelines, as --host or KFP_ENDPOINT; found none, "
            "and neither a pod's service account nor a kubeconfig"
        )
    return client
