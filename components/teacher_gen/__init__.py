"""The teacher-gen component."""
