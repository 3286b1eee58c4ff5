"""The model that is trained: its batches, its forward, its memory."""
