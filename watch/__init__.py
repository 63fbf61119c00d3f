"""The watcher: looks at every part from outside, keeps what it saw, and raises alerts. It writes in no database."""
