"""What a person does when a log, a day or a record is not as it should be."""
