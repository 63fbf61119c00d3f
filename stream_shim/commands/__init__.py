"""The lane's commands, a module a group. What is heavy is imported when a command runs, so that help is quick."""

from stream_shim.commands.logs import logs
from stream_shim.commands.quarantine import quarantine
from stream_shim.commands.sources import sources
from stream_shim.commands.stream import stream

__all__ = ["logs", "quarantine", "sources", "stream"]
