"""The local stack: Postgres, Kafka and Prefect from locked packages alone, on loopback, their state in one folder."""
