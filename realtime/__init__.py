"""The streaming database: all that is known of its tables, and every way in and out of them.

Its shape is SQL (migrations/); here is what reads and writes it: partitions, positions and epochs, rows, quarantine,
the account, the copy out, the trim. It knows no Kafka client and is called once a batch: who speaks with Kafka, and
what a record means, is the streaming lane's matter (stream_shim/).
"""
