"""The Prefect flows: batch lane, promote and trim, checks; the account of every record; schedules, alerts."""
