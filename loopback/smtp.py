"""A mail server on loopback: it takes what it is given, and keeps it."""

import base64
import socketserver
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default


@dataclass
class Taken:
    """One mail: by whom it was handed over, and to whom it goes."""

    user: str
    sender: str
    to: list[str]
    message: Message
    is_encrypted: bool


@dataclass
class Dialogue:
    """What one client has said so far."""

    user: str = ""
    sender: str = ""
    to: list[str] = field(default_factory=list)


class MailServer(socketserver.ThreadingTCPServer):
    """Listens on a free port. `login` is the one user and password, where it asks for one; `refusals` answer first.

    Nobody has an address of `unknown` here.

    With a `context` it offers STARTTLS; where `is_tls` is set every connection begins with TLS.
    """

    daemon_threads, allow_reuse_address = True, True

    def __init__(
        self, login: tuple[str, str] | None = None, context: ssl.SSLContext | None = None, is_tls: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.login, self.context, self.is_tls = login, context, is_tls
        self.mails: list[Taken] = []
        self.refusals: list[str] = []
        self.unknown: set[str] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Handler(socketserver.StreamRequestHandler):
    """One session, by RFC 5321 as far as Python's client speaks it."""

    server: MailServer

    def setup(self) -> None:
        super().setup()
        self._is_encrypted = False
        if self.server.is_tls:
            self._encrypt()

    def handle(self) -> None:
        said = Dialogue()
        self._say("220 loopback")
        while line := self.rfile.readline():
            word, _, rest = line.decode().strip().partition(" ")
            if word.upper() == "QUIT":
                self._say("221 bye")
                return
            self._answer(word.upper(), rest, said)

    def _answer(self, word: str, rest: str, said: Dialogue) -> None:
        match word:
            case "EHLO" | "HELO":
                offered = ["STARTTLS"] * bool(self.server.context and not self._is_encrypted)
                offered += ["AUTH PLAIN"] * (self.server.login is not None)
                lines = ["loopback", *offered]
                for number, each in enumerate(lines):
                    self._say(f"250{'-' if number < len(lines) - 1 else ' '}{each}")
            case "STARTTLS":
                self._say("220 go on")
                self._encrypt()
            case "AUTH":
                _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
                said.user = user
                self._say("235 welcome" if (user, password) == self.server.login else "535 wrong user or password")
            case "MAIL":
                said.sender, said.to = rest.partition(":")[2], []
                self._say("250 ok")
            case "RCPT":
                address = rest.partition(":")[2].strip("<>")
                if address in self.server.unknown:
                    self._say("550 nobody has this address")
                    return
                said.to.append(address)
                self._say("250 ok")
            case "DATA":
                self._data(said)
            case _:
                self._say("250 ok")

    def _data(self, said: Dialogue) -> None:
        if self.server.refusals:
            self._say(self.server.refusals.pop())
            return
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        message = message_from_bytes(b"".join(lines), policy=default)
        self.server.mails.append(Taken(said.user, said.sender, list(said.to), message, self._is_encrypted))
        self._say("250 taken")

    def _encrypt(self) -> None:
        assert self.server.context is not None
        self.connection = self.server.context.wrap_socket(self.request, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self._is_encrypted = True

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())
