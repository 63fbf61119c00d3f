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
    """A source answered with something other than data, after every retry; the message names the source.

    `wait_seconds` is how long the source asks to be left alone (HTTP's Retry-After).
    """

    retriable = True

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
