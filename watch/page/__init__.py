"""The status page: what the watcher saw and what people said, as files that a server or a bucket gives to anyone."""
