"""Benchmarks: each runs ours and a peer, or a limit, in turn on the same machine."""
