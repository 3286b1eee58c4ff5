"""The import-student component."""
