"""The wiring of the SODA stages; the only place that knows the cluster."""

from typing import Any

from kfp import dsl, kubernetes

from components.eval.component import eval as evaluate
from components.import_student.component import import_student
from components.pair_build.component import pair_build
from components.prepare_prompts.component import prepare_prompts
from components.register.component import register
from components.snapshot.component import snapshot
from components.teacher_gen.component import teacher_gen
from components.train.component import train

__all__ = ["build_distill"]

STORE = "/var/soda"  # the images set SODA_STORE to it
SCRATCH = "/scratch"


def build_distill(store: str = "") -> Any:
    """Return the pipeline.

    Args:
        store: where journals, unfinished work and finished artifacts lie: a gs:// or s3://
            location, or "" for the volume that the parameter `store_claim` names.
    """

    @dsl.pipeline(name="soda-distill")
    def distill(
        prepare_prompts_config: dict,
        import_student_config: dict,
        teacher_gen_config: dict,
        snapshot_config: dict,
        pair_build_config: dict,
        train_config: dict,
        eval_config: dict,
        register_config: dict,
        teacher_secret: str = "soda-teacher",
        store_claim: str = "soda-store",
        gpu_type: str = "nvidia.com/gpu",
        gpu_count: int = 1,
        gpu_memory: str = "64Gi",
    ) -> dsl.Artifact:
        """Distil a teacher, reached only through an API, into a small student, and register it.

        Args:
            prepare_prompts_config: Where the prompts come from, and how they are split.
            import_student_config: Which student.
            teacher_gen_config: Which teacher, and what it is asked with.
            snapshot_config: How the base student is sampled.
            pair_build_config: How long a pair may be.
            train_config: Loss, rates, epochs, checks.
            eval_config: What is measured.
            register_config: The model's name, and what a champion must have shown.
            teacher_secret: Kubernetes Secret whose key `api_key` is the teacher's API key.
            store_claim: PersistentVolumeClaim for journals, checkpoints and finished artifacts.
            gpu_type: Resource name of the GPUs.
            gpu_count: GPUs for training; snapshot and eval take one.
            gpu_memory: Memory of the pods that have a GPU.
        """
        prompts = prepare_prompts(config=prepare_prompts_config)
        base = import_student(config=import_student_config)
        teacher = teacher_gen(prompts=prompts.output, config=teacher_gen_config)
        student = snapshot(prompts=prompts.output, model=base.output, config=snapshot_config)
        pairs = pair_build(teacher=teacher.output, student=student.output, config=pair_build_config)
        trained = train(pairs=pairs.output, model=base.output, config=train_config)
        report = evaluate(
            model=trained.output,
            base=base.output,
            teacher=teacher.output,
            pairs=pairs.output,
            config=eval_config,
        )
        registration = register(model=trained.output, report=report.output, config=register_config)
        registration.set_caching_options(False)  # it acts on the registry

        kubernetes.use_secret_as_env(
            teacher,
            secret_name=teacher_secret,
            secret_key_to_env={"api_key": "SODA_TEACHER_API_KEY"},
        )
        for task in (prompts, teacher, pairs, registration):
            task.set_cpu_request("1").set_cpu_limit("4")
            task.set_memory_request("4Gi").set_memory_limit("8Gi")
        base.set_cpu_request("1").set_cpu_limit("4")
        base.set_memory_request("16Gi").set_memory_limit("64Gi")
        for task, count in ((student, 1), (trained, gpu_count), (report, 1)):
            task.set_accelerator_type(gpu_type).set_accelerator_limit(count)
            task.set_cpu_request("4").set_cpu_limit("16")
            task.set_memory_request(gpu_memory).set_memory_limit(gpu_memory)
            kubernetes.empty_dir_mount(
                task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit="8Gi"
            )
        for task in (prompts, base, teacher, student, pairs, trained, report, registration):
            task.set_retry(3, backoff_duration="60s", backoff_factor=2)
            if store:
                task.set_env_variable("SODA_STORE", store)
                task.set_env_variable("SODA_SCRATCH", SCRATCH)
                kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=SCRATCH)
            else:
                kubernetes.mount_pvc(task, pvc_name=store_claim, mount_path=STORE)
        return registration.output

    return distill
