"""A backup of all that Kafka and the code do not give back, and its restore onto an empty state folder.

create.py and restore.py say what happens in which order; manifest.py is what a backup says of itself.
"""
