"""How sure a figure is: intervals, sequential tests, bootstrap; numpy only."""
