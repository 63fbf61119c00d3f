"""The watcher: looks at every part from outside, and says in which state it is. It writes nowhere."""
