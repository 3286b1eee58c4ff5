"""Kubeflow components: one thin wrapper around each stage. Installed as `soda_components`."""
