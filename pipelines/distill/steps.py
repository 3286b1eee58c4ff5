"""The steps that the pipelines share, each a component with its place in the cluster."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from kfp import dsl, kubernetes

from soda_components import images
from soda_components.eval.component import eval as evaluate
from soda_components.import_student.component import import_student
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

__all__ = ["Made", "Steps"]

# Which run made a version, for the Model Registry.
_RUN = {
    "SODA_RUN_ID": "metadata.labels['pipeline/runid']",
    "SODA_RUN_NAMESPACE": "metadata.namespace",
}


@dataclass(frozen=True, slots=True)
class Made:
    """What training needs, and eval after it."""

    base: Any
    teacher: Any
    pairs: Any


class Steps:
    """Makes tasks; `given` are the run's parameters by name."""

    def __init__(self, given: SimpleNamespace, *, volume: bool):
        self.given = given
        self.gpu_count = getattr(given, "gpu_count", 1)
        self.place = Placement(
            volume,
            store_claim=getattr(given, "store_claim", None),
            store_secret=given.store_secret,
            pull_secret=given.pod_pull_secret,
            cpu_request=given.pod_cpu,
            cpu_memory=given.pod_memory,
            gpu_type=given.gpu_type,
            gpu_cpu=given.gpu_cpu,
            gpu_memory=given.gpu_memory,
            gpu_node_selector=given.gpu_node_selector,
            gpu_tolerations=given.gpu_tolerations,
            gpu_affinity=given.gpu_affinity,
        )

    def notify(self, pipeline: str, register_config: Any) -> Any:
        """Return the exit task: one message about the run's end."""
        task = notify(
            pipeline=pipeline,
            register_config=register_config,
            store=self.given.store,
            run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            ui_url=self.given.notify_ui_url,
        )
        self._secret(task, self.given.notify_secret, {"url": "SODA_NOTIFY_URL"})
        return self._acts(self.place.on_cpu(task), "Notify")

    def preflight(self, nodes: Any = 1) -> Any:
        """Return the step that looks at everything a run needs."""
        given = self.given
        recipe = {key: each for key, each in vars(given).items() if key.startswith("recipe_")}
        task = preflight(
            **{f"{key.removeprefix('recipe_')}_config": each for key, each in recipe.items()},
            store=given.store,
            images=given.images,
            gpu_type=given.gpu_type,
            gpu_count=self.gpu_count,
            gpu_nodes=nodes,
            gpu_node_selector=given.gpu_node_selector,
            gpu_tolerations=given.gpu_tolerations,
            gpu_autoscaled=given.gpu_autoscaled,
        )
        self._teacher_key(task)
        self._hub_token(task)
        return self._acts(self.place.on_cpu(task), "Preflight")

    def watch(self) -> Any:
        """Return the step that looks at the teacher."""
        given = self.given
        task = watch(
            teacher_gen_config=given.recipe_teacher_gen,
            register_config=given.recipe_register,
            store=given.store,
            run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            force=given.watch_force,
        )
        self._teacher_key(task)
        return self._acts(self.place.on_cpu(task), "Look at the teacher")

    def pairs(self, checked: Any, identity: Any) -> Made:
        """Return pairs, and what they are made of.

        Args:
            checked: the preflight.
            identity: which teacher is behind the name.
        """
        given, place = self.given, self.place
        prompts = prepare_prompts(config=given.recipe_prepare_prompts, store=given.store)
        self._hub_token(place.on_cpu(prompts.after(checked))).set_display_name("Prompts")
        base = import_student(config=given.recipe_import_student, store=given.store)
        self._hub_token(place.on_cpu(base.after(checked))).set_display_name("Base student")
        asked = {"prompts": prompts.output, "config": given.recipe_teacher_gen}
        asked |= {"identity": identity}
        with dsl.ParallelFor(given.shards_teacher, name="teacher shards") as shard:
            part = teacher_gen(**asked, store=given.store, shard=shard)
            self._teacher_key(place.on_cpu(part)).set_display_name("Ask the teacher")
        teacher = teacher_gen(**asked, store=given.store).after(part)
        self._teacher_key(place.on_cpu(teacher)).set_display_name("Teacher's answers")
        sampled = {"prompts": prompts.output, "model": base.output}
        sampled |= {"config": given.recipe_snapshot}
        with dsl.ParallelFor(given.shards_snapshot, name="snapshot shards") as shard:
            part = snapshot(**sampled, store=given.store, shard=shard)
            place.on_gpu(part, 1).set_display_name("Ask the student")
        student = snapshot(**sampled, store=given.store).after(part)
        place.on_gpu(student, 1).set_display_name("Student's answers")
        pairs = pair_build(
            teacher=teacher.outputs["responses"],
            student=student.outputs["responses"],
            config=given.recipe_pair_build,
            store=given.store,
        )
        place.on_cpu(pairs).set_display_name("Pairs")
        return Made(base, teacher, pairs)

    def warm_up(self, made: Made) -> Any:
        """Return the first training, on the teacher's answers."""
        task = train(
            data=made.teacher.outputs["responses"],
            model=made.base.output,
            config=self.given.recipe_warm_up,
            store=self.given.store,
            gpus=self.gpu_count,
        )
        return self.place.on_gpu(task, self.gpu_count).set_display_name("Warm up")

    def train(self, made: Made, start: Any, *, title: str = "Train", overrides: Any = None) -> Any:
        """Return training in one pod, from the warmed-up student or the base."""
        task = train(
            data=made.pairs.output,
            model=start.output,
            config=self.given.recipe_train,
            store=self.given.store,
            gpus=self.gpu_count,
            **({"overrides": overrides} if overrides is not None else {}),
        )
        return self.place.on_gpu(task, self.gpu_count).set_display_name(title)

    def train_on_nodes(self, data: Any, start: Any, config: Any, title: str) -> Any:
        """Return a training as a TrainJob: this pod watches it."""
        given = self.given
        task = train_job(
            data=data,
            model=start.output,
            config=config,
            store=given.store,
            image=images.GPU,
            nodes=given.train_nodes,
            gpu_type=given.gpu_type,
            gpu_count=self.gpu_count,
            cpu=given.gpu_cpu,
            memory=given.gpu_memory,
            queue=given.train_queue,
            runtime=given.train_runtime,
            node_selector=given.gpu_node_selector,
            tolerations=given.gpu_tolerations,
        )
        return self.place.on_cpu(task).set_display_name(f"{title} on several nodes")

    def measure(self, made: Made, warmed: Any, trained: Any, *, title: str = "Measure") -> Any:
        """Return the figures of the base student, the warmed-up one and the trained one."""
        task = evaluate(
            model=trained.outputs["student"],
            warmed=warmed.output,
            base=made.base.output,
            teacher=made.teacher.outputs["responses"],
            pairs=made.pairs.output,
            config=self.given.recipe_eval,
            store=self.given.store,
        )
        return self.place.on_gpu(task, 1).set_display_name(title)

    def register(self, trained: Any, report: Any) -> Any:
        """Return the registration: the gate is in the config's champion_if."""
        task = register(
            model=trained.outputs["student"],
            report=report.outputs["report"],
            config=self.given.recipe_register,
            store=self.given.store,
        )
        self._secret(task, self.given.register_secret, {"token": "SODA_MODEL_REGISTRY_TOKEN"})
        for name, field in _RUN.items():
            kubernetes.use_field_path_as_env(task, name, field)
        return self._acts(self.place.on_cpu(task), "Register")

    def _acts(self, task: Any, title: str) -> Any:
        """Mark a task that acts on the world, or looks at it: its result is never reused."""
        return task.set_caching_options(False).set_display_name(title)

    def _teacher_key(self, task: Any) -> Any:
        return self._secret(task, self.given.teacher_secret, {"api_key": "SODA_TEACHER_API_KEY"})

    def _hub_token(self, task: Any) -> Any:
        return self._secret(task, self.given.hub_secret, {"token": "HF_TOKEN"})

    def _secret(self, task: Any, name: Any, keys: dict[str, str]) -> Any:
        return kubernetes.use_secret_as_env(task, name, keys, optional=True)
