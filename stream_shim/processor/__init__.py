"""The processor: a consumer of topics, what becomes of their records, and where to read on."""
