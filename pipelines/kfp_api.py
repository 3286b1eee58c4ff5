"""Everything that is asked of a Kubeflow Pipelines server."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api
from urllib3.exceptions import HTTPError

from soda.errors import ClusterError

from .connection import TIMEOUT, KfpClient, make_client
from .runs import PreparedRun

__all__ = ["KfpServer", "PipelineVersion", "connect"]

_PAGE = 100
_HINTS = {
    401: "; log in, or check the token",
    403: "; check what the account may do there",
}


@dataclass(frozen=True)
class PipelineVersion:
    """A pipeline version on the server."""

    pipeline_id: str
    version_id: str

    def reference(self) -> Any:
        """Return it as runs name it."""
        return kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=self.pipeline_id, pipeline_version_id=self.version_id
        )


@dataclass(frozen=True)
class KfpServer:
    """The server; every error is one line that names the address.

    The generated API is called and not the methods of kfp.Client: those look a pipeline up without
    its namespace, page by ten, print, and leave caching out of the request.
    """

    client: KfpClient
    namespace: str | None

    def check(self) -> None:
        """Refuse a server that is not Kubeflow Pipelines, or does not let us in."""
        with self._explained("ask for its health"):
            is_answering = self.client.is_answering()
        if not is_answering:
            raise ClusterError(
                f"{self.client.address()}: expected the API of Kubeflow Pipelines, found a page "
                "for people (a login?)"
            )

    def experiment(self, name: str, *, create: bool) -> str | None:
        """Return an experiment's id, or None where there is none and none is to be made."""
        api = self.client.experiments
        listing = api.experiment_service_list_experiments
        listed = self._list(listing, "experiments", f"find experiment '{name}'", name)
        if listed or not create:
            return str(listed[0].experiment_id) if listed else None
        wanted = kfp_server_api.V2beta1Experiment(display_name=name, namespace=self.namespace)
        with self._explained(f"make experiment '{name}'"):
            made = api.experiment_service_create_experiment(wanted, _request_timeout=TIMEOUT)
        return _given(made.experiment_id, "an experiment")

    def find_version(self, pipeline: str, version: str) -> PipelineVersion | None:
        """Return a version by its names, or None."""
        pipeline_id = self._pipeline(pipeline)
        return self._version(pipeline_id, version) if pipeline_id else None

    def upload(self, prepared: PreparedRun) -> tuple[PipelineVersion, bool]:
        """Return the version of a spec, and whether it had to be uploaded: it is created once."""
        what = f"upload {prepared.pipeline} {prepared.version}"
        # Uploaded at once with its pipeline, the first version would bear the pipeline's name.
        pipeline_id = self._pipeline(prepared.pipeline) or self._make_pipeline(prepared.pipeline)
        found = self._version(pipeline_id, prepared.version)
        if found:
            return found, False
        with tempfile.TemporaryDirectory() as temporary:
            package = Path(temporary) / "pipeline.yaml"
            package.write_text(prepared.spec, encoding="utf-8")
            try:
                with self._explained(what):
                    self.client.pipeline_uploads.upload_pipeline_version(
                        str(package),
                        name=prepared.version,
                        pipelineid=pipeline_id,
                        _request_timeout=TIMEOUT,
                    )
            except ClusterError:
                found = self._version(pipeline_id, prepared.version)
                if found:  # another one uploaded it in between
                    return found, False
                raise
        found = self._version(pipeline_id, prepared.version)
        if not found:
            raise ClusterError(f"{what}: expected to find it afterwards, found nothing")
        return found, True

    def start(self, run: Any) -> str:
        """Start a V2beta1Run and return its id."""
        with self._explained(f"start run '{run.display_name}'"):
            made = self.client.runs.run_service_create_run(run, _request_timeout=TIMEOUT)
        return _given(made.run_id, "a run")

    def run(self, run: str) -> Any:
        """Return a V2beta1Run as it stands."""
        with self._explained(f"look at run {run}"):
            return self.client.runs.run_service_get_run(run, _request_timeout=TIMEOUT)

    def recurring_runs(self) -> list[Any]:
        """Return all recurring runs of the namespace, anybody's."""
        listing = self.client.recurring_runs.recurring_run_service_list_recurring_runs
        return self._list(listing, "recurring_runs", "list recurring runs")

    def make_recurring(self, wanted: Any) -> str:
        """Make a V2beta1RecurringRun and return its id."""
        api = self.client.recurring_runs
        with self._explained(f"make recurring run '{wanted.display_name}'"):
            made = api.recurring_run_service_create_recurring_run(wanted, _request_timeout=TIMEOUT)
        return _given(made.recurring_run_id, "a recurring run")

    def delete_recurring(self, recurring_run: str) -> None:
        """Delete a recurring run and let its runs end; one that is gone already is no error."""
        # Without a policy, which kfp.Client cannot set, Kubernetes deletes the runs under way too
        # (kubeflow/pipelines#12573); a server before 2.16 does not know it, and does so still.
        orphan = kfp_server_api.V2beta1DeletePropagationPolicy.ORPHAN
        api = self.client.recurring_runs
        with self._explained(f"delete recurring run {recurring_run}", gone_is_fine=True):
            api.recurring_run_service_delete_recurring_run(
                recurring_run, propagation_policy=orphan, _request_timeout=TIMEOUT
            )

    def switch_recurring(self, recurring_run: str, *, on: bool) -> None:
        """Enable or disable a recurring run."""
        api = self.client.recurring_runs
        verb = "enable" if on else "disable"
        with self._explained(f"{verb} recurring run {recurring_run}"):
            call = getattr(api, f"recurring_run_service_{verb}_recurring_run")
            call(recurring_run, _request_timeout=TIMEOUT)

    def _pipeline(self, name: str) -> str | None:
        listing = self.client.pipelines.pipeline_service_list_pipelines
        listed = self._list(listing, "pipelines", f"find pipeline '{name}'", name)
        return str(listed[0].pipeline_id) if listed else None

    def _make_pipeline(self, name: str) -> str:
        wanted = kfp_server_api.V2beta1Pipeline(
            name=name, display_name=name, namespace=self.namespace
        )
        with self._explained(f"make pipeline '{name}'"):
            made = self.client.pipelines.pipeline_service_create_pipeline(
                wanted, _request_timeout=TIMEOUT
            )
        return _given(made.pipeline_id, "a pipeline")

    def _version(self, pipeline_id: str, name: str) -> PipelineVersion | None:
        listing = self.client.pipelines.pipeline_service_list_pipeline_versions
        listed = self._list(
            listing, "pipeline_versions", f"find version '{name}'", name, pipeline_id=pipeline_id
        )
        return PipelineVersion(pipeline_id, str(listed[0].pipeline_version_id)) if listed else None

    def _list(
        self, call: Callable[..., Any], key: str, what: str, name: str = "", **scope: str
    ) -> list[Any]:
        """Return everything on all pages, or what bears the name."""
        if name:
            match = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
            scope["filter"] = json.dumps({"predicates": [match]})
        if self.namespace and "pipeline_id" not in scope:
            scope["namespace"] = self.namespace
        found: list[Any] = []
        while True:
            with self._explained(what):
                page = call(page_size=_PAGE, _request_timeout=TIMEOUT, **scope)
            found += getattr(page, key) or []
            if not page.next_page_token:
                return [one for one in found if not name or one.display_name == name]
            scope["page_token"] = page.next_page_token

    @contextlib.contextmanager
    def _explained(self, what: str, *, gone_is_fine: bool = False) -> Iterator[None]:
        """Turn what may go wrong at the server's door into one line."""
        where = f"{self.client.address()}: {what}"
        try:
            yield
        except kfp_server_api.ApiException as error:
            if error.status == 404 and gone_is_fine:
                return
            hint = _HINTS.get(error.status, "")
            raise ClusterError(
                f"{where}: expected an answer, found {_said(error)}{hint}"
            ) from error
        except (HTTPError, OSError) as error:
            said = " ".join(str(getattr(error, "reason", None) or error).split())
            raise ClusterError(f"{where}: expected an answer, found {said}") from error


def connect(host: str | None, namespace: str | None) -> KfpServer:
    """Reach Kubeflow Pipelines, with the credentials that kfp's client finds.

    Args:
        host: its address; see `make_client`.
        namespace: the user's, where Kubeflow has several users.

    Raises:
        ClusterError: there is no address, no answer, or something else answers there.
    """
    client = make_client(host)
    server = KfpServer(client, namespace or client.get_user_namespace() or None)
    server.check()
    return server


def _said(error: Any) -> str:
    """Return a server's refusal: its status and its words, on one line."""
    try:
        body = json.loads(error.body)
        words = body.get("error_message") or body.get("message") or body.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        words = "not in Kubeflow's words: is this its address?"  # a proxy's page
    said = " ".join(f"{error.status} {error.reason}".split())
    words = " ".join(str(words).split())
    return f"{said} ({words[:300]})" if words else said


def _given(identifier: str | None, what: str) -> str:
    if not identifier:
        raise ClusterError(f"expected the id of {what}, found an answer without one")
    return identifier
