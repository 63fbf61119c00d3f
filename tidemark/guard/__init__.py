"""The guard: ends people's sessions past their limits, and whatever of people's holds up a part; mends their roles."""
