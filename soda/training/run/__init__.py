"""A training run: its loop, checkpoints, health and figures."""
