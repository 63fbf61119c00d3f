"""The buffer: into Kafka's topics (publisher), and what a topic is (topics.yml, its settings and schema)."""
