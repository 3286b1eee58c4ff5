"""What talks to Kubernetes: checks before a run, training on several nodes, the notification."""
