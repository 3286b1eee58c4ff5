"""Sampling from a local student."""
