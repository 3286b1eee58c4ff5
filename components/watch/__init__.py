"""The watch component."""
