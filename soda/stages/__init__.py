"""The stages, one file each: its config and its function. This is the list of them."""

__all__ = ["STAGES"]

# In the order a pipeline runs them. Module and function follow from the name: in Python it has
# underscores, everywhere else hyphens.
STAGES = (
    "prepare-prompts",
    "import-student",
    "teacher-gen",
    "snapshot",
    "choose-rejects",
    "pair-build",
    "train",
    "eval",
    "register",
    "compare",
)
