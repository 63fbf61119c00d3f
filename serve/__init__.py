"""The read API: reads both databases as the person's role would, over HTTP."""
