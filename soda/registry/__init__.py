"""The versioned local registry and its model card."""
