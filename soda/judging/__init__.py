"""Which of two answers is better: judges, what they said, and how far they can be trusted."""
