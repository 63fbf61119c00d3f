"""The lane's processes: one each, all together, and what they tell of themselves."""
