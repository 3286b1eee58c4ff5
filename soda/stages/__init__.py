"""The stages, one file each: its config and its function. This is the list of them."""

__all__ = ["STAGES"]

# In the order a pipeline runs them: name -> where its function is.
STAGES = {
    "prepare-prompts": "soda.stages.prepare_prompts:prepare_prompts",
    "import-student": "soda.stages.import_student:import_student",
    "teacher-gen": "soda.stages.teacher_gen:teacher_gen",
    "snapshot": "soda.stages.snapshot:snapshot",
    "pair-build": "soda.stages.pair_build:pair_build",
    "train": "soda.stages.train:train",
    "eval": "soda.stages.eval:evaluate",
    "register": "soda.stages.register:register",
    "compare": "soda.stages.compare:compare",
}
