"""A user's dataset -> rows whose values are what the file says, and prompts made of them."""
