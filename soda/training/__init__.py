"""The trainer: batches, log-probabilities, losses, the loop."""
