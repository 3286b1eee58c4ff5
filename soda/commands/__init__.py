"""Commands that are no stage: they look, plan or finish, and make no artifact."""
