"""Errors of Tidemark: each says what was expected, what was received, where, and what to do."""


class TidemarkError(Exception):
    """Base of every error that Tidemark raises on purpose. The command line prints it as one sentence and exits 1.

    `retriable` says whether the same call may succeed later without anybody changing anything.
    """

    retriable = False


class ConfigurationError(TidemarkError):
    """A setting or a file of settings is wrong; the message names it, and what was expected. Exit code 2."""


class StackError(TidemarkError):
    """A server of the local stack cannot start, is not there, or is somebody else's."""


class SourceError(TidemarkError):
    """A source answered with something other than data, after every retry; the message names the source."""

    retriable = True
