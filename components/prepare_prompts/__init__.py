"""The prepare-prompts component."""
