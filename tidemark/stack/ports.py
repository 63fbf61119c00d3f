"""Free ports, for a stack that is to stand beside others: a test's, a benchmark's."""

import contextlib
import random
import socket

_given: set[int] = set()  # by this process: who was given a port may bind it much later


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing held a moment ago, all different, and none that was given before.

    They lie below the range from which the kernel takes the ports of outgoing connections: else a client that waits
    for a server could take the server's port, or be connected to itself.
    """
    found: list[int] = []
    for port in random.sample(sorted(set(range(20_000, 32_000)) - _given), 12_000 - len(_given)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    _given.update(found)
    return found
