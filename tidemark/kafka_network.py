"""kafka-python's connections, made to say why a broker cannot be entered.

kafka-python 3.0 drops the reason when a broker refuses a password or shows a wrong certificate, tries again for the
30 seconds that it is given to begin, and says "Unable to bootstrap". A broker that refuses says so and hangs up: what
it said is dropped where both are read at once. And there is a place for what must not be tried again, `_auth_failures`,
which a failed login never reaches, because `initialize` does not raise.
"""

import ssl
from typing import Any

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

_FINAL = (
    SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError, AuthorizationError,
)  # fmt: skip


class NotEntered(SaslAuthenticationFailedError):  # type: ignore[misc]
    """The broker's certificate is not one that can be trusted; to try again would change nothing."""


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    _last_failure: BaseException | None = None

    async def _connect(self, node: Any, conn: Any, **options: Any) -> None:
        await super()._connect(node, conn, **options)
        failure = conn.init_future.exception if conn.init_future.failed() else None
        if failure is None:
            return
        self._last_failure = failure
        if isinstance(failure, _FINAL):
            self._auth_failures[node.node_id] = failure
        elif isinstance(failure.__context__, ssl.SSLCertVerificationError):
            self._auth_failures[node.node_id] = NotEntered(failure.__context__.verify_message)

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        receive = transport._sock_recv

        def receive_before_the_end() -> tuple[bytes, BaseException | None]:
            received, failure = receive()
            return received, None if received else failure  # the next read meets the end again

        transport._sock_recv = receive_before_the_end
        return transport

    async def _do_bootstrap(self, deadline: float | None) -> Any:
        try:
            return await super()._do_bootstrap(deadline)
        except KafkaTimeoutError as failure:
            if self._last_failure is None:
                raise
            raise KafkaTimeoutError(f"{failure.args[0]}, the last try: {self._last_failure}") from None


class NetClient(KafkaNetClient):  # type: ignore[misc]
    """What kafka-python's `kafka_client` option takes: the network side of one client."""

    def __init__(self, net: Any = None, manager: Any = None, **options: Any) -> None:
        net = net or NetworkSelector(**options)
        super().__init__(net, manager or _Manager(net, **options), **options)
