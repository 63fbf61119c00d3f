"""The local stack, run for real."""

import json

from tests.conftest import Stack


def test_every_server_runs_within_its_memory(stack: Stack) -> None:
    found = json.loads(stack.run("status", "--json").stdout)
    assert [server["state"] for server in found] == ["running"] * 3
    assert sum(server["resident_bytes"] for server in found) < 1.2e9
