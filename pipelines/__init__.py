"""Components wired together; the only place that knows the cluster."""
