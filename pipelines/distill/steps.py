"""The steps of the pipelines as Kubeflow's tasks, each with its place in the cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from kfp import kubernetes

from soda_components import images
from soda_components.audit.component import audit
from soda_components.choose_rejects.component import choose_rejects
from soda_components.compare.component import compare
from soda_components.eval.component import eval as evaluate
from soda_components.import_student.component import import_student
from soda_components.judge.component import judge
from soda_components.notify.component import notify
from soda_components.pair_build.component import pair_build
from soda_components.preflight.component import preflight
from soda_components.prepare_prompts.component import prepare_prompts
from soda_components.register.component import register
from soda_components.snapshot.component import snapshot
from soda_components.teacher_gen.component import teacher_gen
from soda_components.train.component import train
from soda_components.train_job.component import train_job
from soda_components.watch.component import watch

from ..placement import Placement
from .graph import Step

__all__ = ["Steps"]

# Where in the pod's own fields the notification finds its workflow, and the Model Registry the run.
_WORKFLOW = "metadata.labels['workflows.argoproj.io/workflow']"
_NAMESPACE = "metadata.namespace"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a stage runs: its component, what that makes, and whether on a GPU."""

    component: Callable[..., Any]
    output: str
    gpu: bool = False
    acts: bool = False  # on the world: its result is never reused


_KINDS = {
    "prepare-prompts": _Kind(prepare_prompts, "prompts"),
    "import-student": _Kind(import_student, "model"),
    "teacher-gen": _Kind(teacher_gen, "responses"),
    "snapshot": _Kind(snapshot, "responses", gpu=True),
    "choose-rejects": _Kind(choose_rejects, "responses", gpu=True),
    "pair-build": _Kind(pair_build, "pairs"),
    "audit": _Kind(audit, "kept", acts=True),  # its journal knows what it has paid for
    "train": _Kind(train, "student", gpu=True),
    "eval": _Kind(evaluate, "report", gpu=True),
    "judge": _Kind(judge, "judged", acts=True),  # the champion may have moved
    "register": _Kind(register, "registration", acts=True),
    "compare": _Kind(compare, "comparison"),
}
_HUB = {"token": "HF_TOKEN"}
_TEACHER = {"api_key": "SODA_TEACHER_API_KEY"}


class Steps:
    """Makes tasks.

    Args:
        given: the run's parameters by name.
        values: each step's values, by the key of a step.
        place: where pods run.
        nodes: train on several nodes.
    """

    def __init__(
        self,
        given: SimpleNamespace,
        values: Mapping[str, Any],
        place: Placement,
        *,
        nodes: bool = False,
    ):
        self.given = given
        self.values = values
        self.place = place
        self.nodes = nodes

    def notify(self, pipeline: str) -> Any:
        """Return the exit task: one message about the run's end."""
        task = notify(
            pipeline=pipeline,
            recipe=self.given.recipe,
            store=self.given.store,
            ui_url=self.given.ui_url,
        )
        kubernetes.use_field_path_as_env(task, "SODA_WORKFLOW", _WORKFLOW)
        self.place.secret(task, self.place.secrets.notify, {"url": "SODA_NOTIFY_URL"})
        return self._acts(self.place.on_cpu(task), "Notify")

    def watch(self) -> Any:
        """Return the step that looks at the teacher."""
        task = watch(
            teacher_gen_config=self.values["teacher-gen"],
            register_config=self.values["register"],
            store=self.given.store,
            force=self.given.force,
        )
        self.place.secret(task, self.place.secrets.teacher, _TEACHER)
        return self._acts(self.place.on_cpu(task), "Look at the teacher")

    def run(self, graph: list[Step], *, identity: Any = None) -> None:
        """Make the preflight, and the tasks of a graph after it.

        Args:
            graph: the steps.
            identity: which teacher is behind the name; None leaves it to the recipe.
        """
        checked = self._preflight(sorted(self.values))
        asked = replace(self.place, asked=checked.outputs)
        made: dict[str, Any] = {}
        for step in graph:
            made[step.name] = self._task(step, made, asked, identity)
            if not step.inputs:
                made[step.name].after(checked)

    def _preflight(self, steps: list[str]) -> Any:
        given = self.given
        task = preflight(
            recipe=given.recipe,
            steps=steps,
            store=given.store,
            images=given.images,
            gpus=given.gpus,
            pods=given.pods,
            nodes=given.train_nodes if self.nodes else 1,
            train_runtime=given.train_runtime if self.nodes else "",
        )
        self.place.secret(task, self.place.secrets.teacher, _TEACHER)
        self.place.secret(task, self.place.secrets.hub, _HUB)
        return self._acts(self.place.on_cpu(task), "Preflight")

    def _task(self, step: Step, made: Mapping[str, Any], place: Placement, identity: Any) -> Any:
        kind = _KINDS[step.stage]
        on_nodes = step.stage == "train" and self.nodes
        inputs = {
            key: [made[each].outputs["place"] for each in of]
            if isinstance(of, tuple)
            else made[of].outputs[_KINDS_OF[made[of].component_spec.name]]
            for key, of in step.inputs.items()
        }
        more: dict[str, Any] = {"shard": step.shard} if step.shard else {}
        if step.stage == "teacher-gen" and identity is not None:
            more["identity"] = identity
        if step.stage == "train":
            count = place.asked["gpu_count"]
            more = self._nodes(place) if on_nodes else {"gpus": count}
        task = (train_job if on_nodes else kind.component)(
            **inputs, **more, config=self.values[step.key], store=self.given.store
        )
        for each in step.after:
            task.after(made[each])
        # what its shards have made is only put together
        if kind.gpu and not on_nodes and not step.after:
            place.on_gpu(task, place.asked["gpu_count"] if step.stage == "train" else None)
        else:
            place.on_cpu(task)
        self._show_secrets(task, step.stage)
        task.set_display_name(step.title)
        return self._acts(task, step.title) if kind.acts else task

    def _nodes(self, place: Placement) -> dict[str, Any]:
        given, asked = self.given, place.asked
        return {
            "image": images.GPU,
            "nodes": given.train_nodes,
            "gpu_type": asked["gpu_type"],
            "gpu_count": asked["gpu_count"],
            "cpu": asked["gpu_cpu"],
            "memory": asked["gpu_memory"],
            "queue": given.train_queue,
            "runtime": given.train_runtime,
            "node_selector": asked["gpu_node_selector"],
            "tolerations": asked["gpu_tolerations"],
            "affinity": asked["gpu_affinity"],
            "claim": place.claim,
            "pull_secret": place.secrets.pull,
        }

    def _show_secrets(self, task: Any, stage: str) -> None:
        secrets, secret = self.place.secrets, self.place.secret
        if stage in ("prepare-prompts", "import-student"):
            secret(task, secrets.hub, _HUB)
        if stage == "teacher-gen":
            secret(task, secrets.teacher, _TEACHER)
        if stage in ("audit", "judge"):
            secret(task, secrets.judge, {"api_key": "SODA_JUDGE_API_KEY"})
        if stage == "register":
            secret(task, secrets.model_registry, {"token": "SODA_MODEL_REGISTRY_TOKEN"})
            kubernetes.use_field_path_as_env(task, "SODA_RUN_NAMESPACE", _NAMESPACE)

    def _acts(self, task: Any, title: str) -> Any:
        """Mark a task that acts on the world, or looks at it: its result is never reused."""
        return task.set_caching_options(False).set_display_name(title)


# Component -> what it makes, by the name that KFP gives it.
_KINDS_OF = {stage: kind.output for stage, kind in _KINDS.items()} | {"train-job": "student"}
