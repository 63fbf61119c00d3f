"""The streaming lane: connectors → topics → processor → destinations. Read the files in that order."""
