"""What is wrong with the data: shortcuts, contamination, secrets, and where rows were lost."""
