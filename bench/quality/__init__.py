"""Where the method wins: checkable tasks, and a teacher whose share of right answers is set."""
