"""The checks before a run as a Kubeflow component."""

from kfp import dsl

from .. import images

__all__ = ["preflight"]


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def preflight(
    prepare_prompts_config: dict,
    import_student_config: dict,
    teacher_gen_config: dict,
    snapshot_config: dict,
    pair_build_config: dict,
    warm_up_config: dict,
    train_config: dict,
    eval_config: dict,
    store: str,
    images: list,
    report: dsl.Output[dsl.Markdown],
    register_config: dict = {},  # noqa: B006 - KFP reads it and never changes it
    gpu_type: str = "nvidia.com/gpu",
    gpu_count: int = 1,
    gpu_nodes: int = 1,
    gpu_node_selector: dict = {},  # noqa: B006
    gpu_tolerations: list = [],  # noqa: B006
    gpu_autoscaled: bool = False,
):
    """Fail in seconds rather than hours: teacher, student, store, GPUs, quota, images.

    Args:
        prepare_prompts_config: Values of the stage prepare-prompts.
        import_student_config: Values of the stage import-student.
        teacher_gen_config: Values of the stage teacher-gen.
        snapshot_config: Values of the stage snapshot.
        pair_build_config: Values of the stage pair-build.
        warm_up_config: Values of the warm-up, a training.
        train_config: Values of the stage train.
        eval_config: Values of the stage eval.
        store: Where journals, unfinished work and finished artifacts lie.
        images: References that the steps will pull.
        report: What was found, and what to do about it.
        register_config: Values of the stage register; empty if nothing is registered.
        gpu_type: Resource name of the GPUs.
        gpu_count: GPUs for training.
        gpu_nodes: Nodes for training.
        gpu_node_selector: Labels of the nodes with GPUs.
        gpu_tolerations: Taints of the nodes with GPUs that are tolerated.
        gpu_autoscaled: Whether nodes with GPUs come only when they are asked for.
    """
    from soda.commands.preflight import preflight_step

    preflight_step(
        {
            "prepare-prompts": prepare_prompts_config,
            "import-student": import_student_config,
            "teacher-gen": teacher_gen_config,
            "snapshot": snapshot_config,
            "pair-build": pair_build_config,
            "warm-up": warm_up_config,
            "train": train_config,
            "eval": eval_config,
            "register": register_config,
        },
        store=store,
        images=images,
        gpus={
            "type": gpu_type,
            "count": gpu_count,
            "nodes": gpu_nodes,
            "node_selector": gpu_node_selector,
            "tolerations": gpu_tolerations,
        },
        autoscaled=gpu_autoscaled,
        report=report.path,
    )
