"""Listens to the streams of a ccxt client, each kept for itself: what fails one of them costs that one, by name."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors.entries import CcxtSource
from stream_shim.connectors.symbols import Blame
from tidemark.errors import SourceError
from tidemark.http import retry_after
from tidemark.secrets import hide

log = logging.getLogger("tidemark.connector")

RETRY_SECONDS = (0, 1, 2, 5, 10, 30, 60)  # before a stream is asked for again, by its failures in a row
MOST_CHARACTERS = 200  # of a message, in a sentence about it
REPEATED_SECONDS = 1
STEADY_SECONDS = 60  # a stream that ran so long before it failed begins again with the shortest wait
WORKED_SECONDS = 2  # and so does one that gave news for so long

Stream = Callable[["Listener", str], Coroutine[Any, Any, None]]


def watched(exchange_class: Any) -> Any:
    """ccxt's class of an exchange, whose connections end where its receive loop fails.

    ccxt's own loop would end, the connection stay, and whoever awaits a stream of it would wait for ever. `on_fault`
    takes a reason and a sentence; `on_lost` the error that ended a connection, which those who await its streams get,
    and which then has `ends_connection`.
    """
    from ccxt.base.errors import NetworkError

    class Watched(exchange_class):  # type: ignore[misc]
        on_fault: Callable[[str, str], None] = staticmethod(log.error)
        on_lost: Callable[[BaseException], None] = staticmethod(log.error)
        on_unread: Callable[[str, Any], None] = staticmethod(log.error)

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.spawned: set[Any] = set()

        def client(self, url: str) -> Any:
            client = super().client(url)
            if "handle_message" not in vars(client):
                client.handle_message = partial(_handle, self, client, client.handle_message)
                client.reject = partial(_reject, client, client.reject)
            return client

        def spawn(self, method: Any, *args: Any) -> Any:
            async def run() -> Any:
                task = asyncio.current_task()
                self.spawned.add(task)
                try:
                    return await method(*args)
                except asyncio.CancelledError:
                    return None  # by `close`; ccxt's callback of the task would raise it
                finally:
                    self.spawned.discard(task)

            return super().spawn(run)

        async def close(self, *args: Any) -> None:
            for task in list(self.spawned):
                task.cancel()  # one that goes on would open the session again
            await super().close(*args)

        def on_error(self, client: Any, error: BaseException) -> None:
            error.ends_connection = True  # type: ignore[attr-defined]
            super().on_error(client, error)
            self.on_lost(error)

    def _handle(exchange: Watched, client: Any, handle: Callable[[Any], None], message: Any) -> None:
        if client.error is not None:
            return  # what was read after the message that ended it: a book must not go on across one
        try:
            handle(message)
        except Exception as error:  # noqa: BLE001 - whatever ccxt does with a venue's message
            reason = f"ccxt failed on a message with {type(error).__name__}"
            text = hide(f"{reason}: {error}; the message: {str(message.data)[:MOST_CHARACTERS]}")
            exchange.on_fault(reason, text)
            exchange.on_unread(reason, message.data)
            client.on_error(NetworkError(text))

    def _reject(client: Any, reject: Callable[..., Any], error: Exception, message_hash: str | None = None) -> Any:
        if message_hash is None and type(error) is NetworkError and client.error is None:
            return client.on_error(error)  # it comes back here, and the client makes room for the next
        return reject(error, message_hash)

    return Watched


def asked_to_wait(exchange: Any, error: BaseException) -> float:
    """The seconds that a venue asks to be left alone for, by the answer that `error` is about; 0 where it asks none."""
    from ccxt.base.errors import DDoSProtection, ExchangeNotAvailable, RateLimitExceeded

    refused = next((one for one in error.args if hasattr(one, "headers")), None)  # an upgrade to a web socket
    if refused is not None:
        return retry_after(refused.headers or {})
    if isinstance(error, RateLimitExceeded | DDoSProtection | ExchangeNotAvailable):
        return retry_after(exchange.last_response_headers or {})
    return 0.0


def _is_refusal(error: Exception) -> bool:
    """Whether the venue, or ccxt, says no; what merely failed, like a connection, may go the next time."""
    from ccxt.base.errors import OperationFailed

    return not isinstance(error, OperationFailed)


class Listener:
    """Keeps a source's streams: silence is counted by symbol, and a source with no sound at all is lost."""

    def __init__(self, source: CcxtSource, publisher: Publisher, exchange: Any, symbols: Iterable[str]) -> None:
        self.source, self.publisher = source, publisher
        self._exchange, self._blame = exchange, Blame(exchange, symbols)
        self._news: dict[str, tuple[float, float]] = {}  # by part: the first and the last since it was asked for
        self._heard_at = time.monotonic()
        self._unheard = set(publisher.degraded)  # the parts that failed and gave nothing since
        self._stuck: set[str] = set()  # of them, those that may never give again on the connection that they have

    async def keep(self, part: str, symbol: str, stream: Stream) -> None:
        """Run one stream for ever; where it fails it is asked for again, after a wait with back-off.

        SourceError where the whole source is lost or refused.
        """
        from ccxt.base.errors import AuthenticationError, BaseError, PermissionDenied

        failures, failed_at, last = 0, 0.0, None
        while True:
            started, wait = time.monotonic(), 0.0
            self._news.pop(part, None)
            try:
                await stream(self, part)
            except BaseError as error:
                if isinstance(error, AuthenticationError) and not isinstance(error, PermissionDenied):
                    raise  # it is the entry's, not the stream's
                self._end_silence(part, failed_at if error is last else time.monotonic())
                said = hide(f"{type(error).__name__}: {error}")
                # An error that came while nobody awaited ccxt gives again until the next news. Where another stream is
                # refused, the connection goes on, and what came meanwhile is in ccxt's cache.
                if error is last or (_is_refusal(error) and self._blame.names_another(said, symbol)):
                    await asyncio.sleep(REPEATED_SECONDS)
                    continue
                failed_at = time.monotonic()
                failures = 1 if failed_at - started > STEADY_SECONDS or self._worked(part) else failures + 1
                wait = asked_to_wait(self._exchange, error)
                self._note(part, symbol, error, said, failures)
                last = error
            await asyncio.sleep(max(wait, RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]))

    def _worked(self, part: str) -> bool:
        first, last = self._news.get(part, (0.0, 0.0))
        return last - first > WORKED_SECONDS

    def _end_silence(self, part: str, since: float) -> None:
        """SourceError where no stream gave anything for too long, or one that may have no subscription did not."""
        name, limit, now = self.source.name, self.source.silence_seconds, time.monotonic()
        if now - self._heard_at >= limit:
            raise SourceError(f"{name}: expected news within {limit} s, received none of any symbol")
        if part in self._stuck and now - since >= limit:
            raise SourceError(f"{name}: expected {part} to stream again within {limit} s, it did not")

    def _note(self, part: str, symbol: str, error: Exception, said: str, failures: int) -> None:
        """Count and name a stream's failure."""
        from ccxt.base.errors import InvalidNonce

        self._unheard.add(part)
        if not _is_refusal(error) and not getattr(error, "ends_connection", False):
            self._stuck.add(part)
        if isinstance(error, InvalidNonce):  # of which a checksum that differs is one
            self.publisher.gaps[symbol] += 1
            log.warning("%s: the book of %s has a gap (%s); it begins anew", self.source.name, symbol, said)
        elif part in self._stuck:
            log.warning("%s: expected %s to stream, received %s; asking again", self.source.name, part, said)
        if failures > 1 or _is_refusal(error):
            self.publisher.degrade(part, said)

    def count_lost(self, error: BaseException) -> None:
        """A connection has ended: the streams that it carried are asked for again."""
        self.publisher.source_errors += 1
        self.publisher.expect_first()
        log.warning("%s: lost a connection, received %s; connecting again", self.source.name, hide(str(error)))

    async def next_of(self, part: str, symbol: str, watch: "asyncio.Future[Any]") -> Any:
        """The next of one stream. Where ccxt wakes nobody, waiting has an end."""
        limit = self.source.silence_seconds
        while not (await asyncio.wait([watch], timeout=limit))[0]:
            self.publisher.silences[symbol] += 1
            log.warning("%s: expected news of %s within %s s, received none", self.source.name, symbol, limit)
            self._end_silence(part, 0.0)
        given = self._result(part, watch)
        self._heard_at = now = time.monotonic()
        self._news[part] = (self._news.get(part, (now, now))[0], now)
        if part in self._unheard:
            self._unheard.discard(part)
            self._stuck.discard(part)
            self.publisher.mend(part)
        return given

    def _result(self, part: str, watch: "asyncio.Future[Any]") -> Any:
        """What ccxt gives, or its error; one that is none of its own is counted as a fault of it."""
        from ccxt.base.errors import BaseError, ExchangeError, NetworkError

        if watch.cancelled():
            raise NetworkError(f"expected news of {part}, the connection was closed")
        error = watch.exception()
        if error is None or isinstance(error, BaseError):
            return watch.result()
        said = hide(f"{type(error).__name__}: {error}")
        self.publisher.client_error(f"ccxt failed with {type(error).__name__}", f"ccxt failed on {part}: {said}")
        raise ExchangeError(f"ccxt failed on {part}: {said}") from error
