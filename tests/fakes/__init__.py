"""Fakes at the edges: the teacher's server, a tiny random student, small artifacts."""
