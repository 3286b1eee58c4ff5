"""The eval component."""
