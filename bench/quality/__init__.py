"""Where the method wins: checkable tasks, a teacher with a dial, and every method on the same answers."""
