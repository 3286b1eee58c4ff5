"""The distill pipeline: from a dataset and a teacher to a registered student."""
