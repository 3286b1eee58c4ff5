"""Artifacts: folders with a manifest, made whole and never changed again."""
