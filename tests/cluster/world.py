"""What the tests of a cluster do in it, by the product's own commands and the Kubernetes API."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from soda.kubernetes.workflow import step_of
from tests.end_to_end.test_pipeline import write_recipe

NODE = "workflows.argoproj.io/node-name"
ACCOUNT, VOLUME, PORT, USER = "soda-runner", "/var/soda", 8000, 10001


@dataclass
class Run:
    """A run on the cluster, and what the command that started it printed."""

    world: "World"
    code: int
    said: str

    @property
    def id(self) -> str:
        found = re.search(r"^run: +(\S+)$", self.said, re.MULTILINE)
        assert found, f"submit printed no run's id:\n{self.said}"
        return found[1]

    def expect(self, code: int) -> "Run":
        """Fail with all that was said if the run ended otherwise."""
        assert self.code == code, f"expected exit code {code}, found {self.code}:\n{self.said}"
        return self

    def pods(self, step: str = "") -> list[Any]:
        """Return the pods of its steps, or of one, oldest first; drivers are none."""
        labels = f"pipeline/runid={self.id},app.kubernetes.io/part-of=soda"
        found = self.world.core.list_namespaced_pod(self.world.namespace, label_selector=labels)
        pods = sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp)
        return [pod for pod in pods if step in ("", step_of(pod.metadata.annotations[NODE]))]

    def running(self, step: str) -> Any:
        """Wait for a pod of a step in which soda is at work, and return it."""

        def look() -> Any:
            for pod in self.pods(step):
                if pod.status.phase == "Running" and "[KFP Executor" in self.world.log(pod):
                    return pod
            return None

        return self.world.eventually(look, f"a running pod of {step}; its pods: {self.states()}")

    def states(self) -> dict[str, str]:
        """Return each pod's phase, for a message."""
        return {pod.metadata.annotations[NODE]: pod.status.phase for pod in self.pods()}

    def state(self) -> str:
        """Return Kubeflow's state of the run."""
        return str(self.world.server().run(self.id).state)

    def ended(self, *states: str) -> "Run":
        """Wait for its end, and fail unless it is one of these."""
        over = {"SUCCEEDED", "FAILED", "CANCELED"}
        self.world.eventually(lambda: self.state() in over, f"the end of run {self.id}")
        found = self.state()
        assert found in states, f"expected {' or '.join(states)}, found {found}: {self.states()}"
        return self

    def message(self) -> str:
        """Return what the webhook got of this run."""

        def look() -> str:
            messages = self.world.state()["messages"]
            return next((text for text in messages if f"/details/{self.id}" in text), "")

        return str(self.world.eventually(look, f"a message of run {self.id}"))


class World:
    """The cluster, and in it a server that is teacher, webhook and a door to the volume."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.namespace = os.environ.get("SODA_CLUSTER_NAMESPACE", "kubeflow")
        self.gpu_type = os.environ.get("SODA_CLUSTER_GPU_TYPE", "soda.local/slot")
        self.claim = os.environ.get("SODA_CLUSTER_CLAIM", "soda-store")
        self.place = f"{VOLUME}/{name}"  # of everything on the volume
        config.load_kube_config()
        self.api = client.ApiClient()
        self.core = client.CoreV1Api(self.api)

    def build(self) -> None:
        """Start the server, and put prompts and student on the volume."""
        for kind, body in self._objects().items():
            getattr(self._apis()[kind], f"create_namespaced_{kind}")(self.namespace, body)
        ready = lambda: self._get("state", missing=None)  # noqa: E731
        self.eventually(ready, f"the pod {self.name} to answer; kubectl describe pod {self.name}")
        write_recipe(self.folder)  # and what it names
        for path in [self.folder / "dataset.jsonl", *(self.folder / "source").iterdir()]:
            where = path.relative_to(self.folder)
            self._ask("PUT", f"files/{self.name}/{where}", path.read_bytes())

    def clean(self) -> None:
        """Delete what `build` made."""
        for kind, api in self._apis().items():
            try:
                getattr(api, f"delete_namespaced_{kind}")(self.name, self.namespace)
            except ApiException as error:
                assert error.status == 404, error

    def recipe(self, **changes: Any) -> dict[str, Any]:
        """Return the end-to-end tests' recipe, here, with other values for some steps."""
        recipe: dict[str, Any] = yaml.safe_load((self.folder / "recipe.yaml").read_text())
        url = f"http://{self.name}.{self.namespace}.svc:{PORT}/v1"
        registry = {"name": self.name, "registry": f"{self.place}/registry", "champion_if": []}
        here = {
            "prepare-prompts": {"dataset": f"{self.place}/dataset.jsonl"},
            "import-student": {"source": f"{self.place}/source"},
            "teacher-gen": {"base_url": url, "model": "fake"},
            "register": registry,
        }
        for values in (here, {step.replace("_", "-"): each for step, each in changes.items()}):
            for step, more in values.items():
                recipe[step] = {**recipe.get(step, {}), **more}
        return recipe

    def declared(self, pipeline: str, recipe: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Write a recipe, and return what a file for `submit` says beside it."""
        path = self.folder / f"recipe-{time.monotonic_ns()}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        parameters = {
            "images": [],
            "gpus": {"type": self.gpu_type, "tolerations": [], "cpu": "1", "memory": "3Gi"},
            "pods": {"cpu": "250m", "memory": "2Gi"},
            "ui_url": "http://kubeflow.test",
        }
        return {
            "pipeline": pipeline,
            "recipe": path.name,
            "store": f"{self.place}/store",
            "volume": True,
            "claim": self.claim,
            "secrets": {"teacher": self.name, "notify": self.name},
            "parameters": {**parameters, **more.pop("parameters", {})},
            **more,
        }

    def submit(
        self,
        pipeline: str,
        *,
        watch: bool = True,
        recipe: dict[str, Any] | None = None,
        **more: Any,
    ) -> Run:
        """Start a run by `soda submit`; with `watch`, wait for its end."""
        declared = self.declared(pipeline, recipe or self.recipe(), **more)
        declared |= {"experiment": "soda-cluster-test", "service_account": ACCOUNT}
        file = self.folder / "run.yaml"
        file.write_text(yaml.safe_dump(declared))
        return self.soda("submit", "-f", str(file), *["--watch"] * watch)

    def soda(self, *words: str) -> Run:
        """Run a command of soda."""
        command = [sys.executable, "-m", "soda", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
        return Run(self, done.returncode, done.stdout + done.stderr)

    def server(self) -> Any:
        """Return Kubeflow Pipelines as `submit` reaches it."""
        from soda_pipelines.kfp_api import connect

        return connect(None, None)

    def cancel(self, run: Run) -> None:
        """End a run as the UI's button does."""
        self.server().client.runs.run_service_terminate_run(run.id)

    def teacher(self, **state: Any) -> None:
        """Change how slow the teacher is (`delay`, seconds), or what it `says`."""
        self._ask("PUT", "state", json.dumps(state).encode())

    def state(self) -> dict[str, Any]:
        """Return what the server was asked, and which messages it got."""
        found: dict[str, Any] = json.loads(self._ask("GET", "state"))
        return found

    def asked(self) -> int:
        """Return how often the teacher was asked prompts of the dataset: no probes."""
        counts = self.state()["asked"]
        return sum(count for prompt, count in counts.items() if prompt.startswith("Say "))

    def files(self, path: str) -> list[str]:
        """Return the names in a folder of this session on the volume."""
        found: list[str] = json.loads(self._get(f"files/{self.name}/{path}", missing=b"[]"))
        return found

    def read(self, path: str) -> bytes:
        """Return a file of this session on the volume."""
        return self._ask("GET", f"files/{self.name}/{path}")

    def log(self, pod: Any) -> str:
        """Return a step's log so far."""
        try:
            return str(
                self.core.read_namespaced_pod_log(
                    pod.metadata.name, self.namespace, container="main", _preload_content=False
                ).data.decode(errors="replace")
            )
        except ApiException:  # not begun
            return ""

    def run_in(self, pod: Any, code: str) -> str:
        """Run Python in a step's container, and return what it prints."""
        from kubernetes.stream import stream

        how = {"container": "main", "command": ["python", "-c", code]}
        how |= {"stdout": True, "stderr": True, "stdin": False, "tty": False}
        api = client.CoreV1Api(client.ApiClient())  # `stream` changes the client that it is given
        name = pod.metadata.name
        return str(stream(api.connect_get_namespaced_pod_exec, name, self.namespace, **how))

    def eventually(self, look: Callable[[], Any], what: str, seconds: float = 1200) -> Any:
        """Return what `look` finds in the end; fail and say what was waited for."""
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
            time.sleep(2)
        return found

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Ask the server, through the Kubernetes API."""
        found = self._get(path, method=method, body=body, missing=None)
        assert found is not None, f"{method} {path}: the server in pod {self.name} did not answer"
        return bytes(found)

    def _get(
        self, path: str, *, missing: Any, method: str = "GET", body: bytes | None = None
    ) -> Any:
        settings = self.api.configuration
        headers: dict[str, str] = {"Content-Type": "application/octet-stream"}
        self.api.update_params_for_auth(headers, [], ["BearerToken"])
        proxy = f"/api/v1/namespaces/{self.namespace}/services/{self.name}:{PORT}/proxy/{path}"
        answer = self.api.rest_client.pool_manager.request(
            method, settings.host + proxy, body=body, headers=headers
        )
        return answer.data if answer.status == 200 else missing

    def _apis(self) -> dict[str, Any]:
        policies = client.NetworkingV1Api(self.api)
        kinds = dict.fromkeys(("config_map", "secret", "service", "pod"), self.core)
        return {**kinds, "network_policy": policies}

    def _objects(self) -> dict[str, Any]:
        meta = {"name": self.name, "labels": {"app": self.name}}
        url = f"http://{self.name}.{self.namespace}.svc:{PORT}/hook"
        script = (Path(__file__).parent / "server.py").read_text()
        closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        container = {
            "name": "server",
            "image": os.environ["SODA_CPU_IMAGE"],
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "/srv/server.py"],
            "securityContext": closed,
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "1", "memory": "256Mi"},
            },
            "volumeMounts": [
                {"name": "code", "mountPath": "/srv"},
                {"name": "store", "mountPath": VOLUME},
            ],
        }
        pod = {
            "containers": [container],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                {"name": "code", "configMap": {"name": self.name}},
                {"name": "store", "persistentVolumeClaim": {"claimName": self.claim}},
            ],
        }
        port = {"port": PORT, "protocol": "TCP"}
        ours = {"podSelector": {"matchLabels": {"app": self.name}}}
        # The policies of manifests/base let runs reach public addresses only.
        policy = {
            "podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "soda"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [ours], "ports": [port]}],
        }
        return {
            "config_map": {"metadata": meta, "data": {"server.py": script}},
            "secret": {"metadata": meta, "stringData": {"url": url, "api_key": "canary-51fe"}},
            "service": {
                "metadata": meta,
                "spec": {"selector": {"app": self.name}, "ports": [port]},
            },
            "network_policy": {"metadata": meta, "spec": policy},
            "pod": {"metadata": meta, "spec": pod},
        }
