"""Benchmarks: one command each, none of them a test."""
