"""The pair-build component."""
