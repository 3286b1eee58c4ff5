"""The stages, one file each: its config and its function."""
