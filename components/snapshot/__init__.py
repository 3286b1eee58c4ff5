"""The snapshot component."""
