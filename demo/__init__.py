"""The demo: recorded sessions, through the real client libraries, from servers that speak the sources' protocols."""
