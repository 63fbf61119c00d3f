"""Tidemark as services of systemd: the stack, the lane and the flows, started with the machine or with who logs in."""
