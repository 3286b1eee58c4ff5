"""Kubeflow components: one thin wrapper around each stage."""
