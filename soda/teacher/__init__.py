"""Talking to the teacher's API."""
