"""Measuring a model: our metrics, lm-eval, the report."""
