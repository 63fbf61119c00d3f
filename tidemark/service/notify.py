"""systemd's readiness protocol (sd_notify): one datagram to the socket that it names."""

import os
import socket


def notify(state: str) -> None:
    """Tell systemd, such as `READY=1`; nothing where it did not start this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.connect("\0" + address[1:] if address.startswith("@") else address)
        to.send(state.encode())
