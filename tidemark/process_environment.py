"""What a process finds in its environment: the settings of its part, and no credential of another's.

A process's environment is there to read in /proc for as long as it runs, and every child inherits it.
"""

import os
import sys
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from tidemark.connections import without_credentials
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

ADMINISTRATORS = ("TIDEMARK_REALTIME_URL", "TIDEMARK_WAREHOUSE_URL")  # an address that may begin with who sets it up
# What `tidemark env` gives a person's shell for psql, dbt and Prefect's own commands; ours have files of their own.
OF_A_SHELL = ("PGPASSWORD", "DBT_PASSWORD", "DBT_REALTIME_PASSWORD", "PREFECT_API_AUTH_STRING")

# What libpq reads of a shell that its list of options does not name.
OF_LIBPQ = ("PGSERVICEFILE", "PGSYSCONFDIR", "PGDATESTYLE", "PGTZ", "PGGEQO")
# How a server of others is trusted: its URL may leave that to these.
OF_TRUST = ("PGREQUIREAUTH", "PGSSL", "PGGSS", "PGKRB", "PGCHANNELBINDING")

LOOPBACK = ("localhost", "127.0.0.1", "::1")  # where our own servers are: a proxy is elsewhere
PROXIES = ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy")
SCHEMES = ("http", "https", "socks5", "socks5h")
# Credentials of the lake on S3 that a variable may hold; AWS_PROFILE and a role's address are none.
OF_S3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def secret_variables() -> set[str]:
    """The variables of every setting that is a secret."""
    return {f"TIDEMARK_{name.upper()}" for name, field in Settings.model_fields.items() if _is_secret(field.annotation)}


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def without_administrators(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the servers' addresses alone, and nothing that was for the programs of a person's shell."""
    kept = {name: value for name, value in environ.items() if name not in OF_A_SHELL}
    return kept | {name: without_credentials(kept[name]) for name in ADMINISTRATORS if kept.get(name)}


def of_a_part(environ: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """The environment of a child that needs, of all secret settings, the variables `secrets` alone."""
    hidden = secret_variables().union(OF_S3) - {*ADMINISTRATORS, *secrets}
    return {name: value for name, value in without_administrators(environ).items() if name not in hidden}


def forget_administrators() -> None:
    """Begin this process anew where its environment holds what only an administrator's command needs."""
    clean = without_administrators(os.environ)
    if clean != dict(os.environ):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean)


def of_libpq(environ: Mapping[str, str]) -> set[str]:
    """The variables that would turn a client of ours to another server, or to another reading of values.

    libpq takes from the environment what a URL does not say: a service, an address, an sslmode that the local server
    does not have, a date style, digits of numbers.
    """
    from psycopg import pq

    names = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}.union(OF_LIBPQ)
    trusted = OF_TRUST if any(environ.get(name) for name in ADMINISTRATORS) else OF_TRUST[:1]
    return {name for name in names & environ.keys() if not name.startswith(trusted)}


def forget_libpq() -> None:
    """Let no client of this process, nor of a child, read what a person's shell has for psql."""
    for name in of_libpq(os.environ):
        del os.environ[name]


def of_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of proxies, for every client to read them alike: loopback by none of them; nothing without a proxy.

    Both spellings, as some read one alone; a web socket goes where HTTP goes; ALL_PROXY stands for what is not named,
    unless it is SOCKS, which not every client speaks. ConfigurationError for what is no proxy's URL; it shows no value.
    """
    proxies = {name: _proxy(name, value) for name in PROXIES if (value := _either(environ, name))}
    if not proxies:
        return {}
    rest = proxies.get("all_proxy", "")
    for name in ("http_proxy", "https_proxy"):
        if rest.startswith("http"):
            proxies.setdefault(name, rest)
    for socket, name in (("ws_proxy", "http_proxy"), ("wss_proxy", "https_proxy")):
        if name in proxies:
            proxies.setdefault(socket, proxies[name])
    found = {**proxies, "no_proxy": _without_proxy(_either(environ, "no_proxy"))}
    return found | {name.upper(): value for name, value in found.items()}


def _either(environ: Mapping[str, str], name: str) -> str:
    """A variable's value; one in lower case counts where it is there, empty too."""
    return environ.get(name, environ.get(name.upper(), "")).strip()


def _proxy(name: str, value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        fits = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ConfigurationError(
            f"{name.upper()}: expected a proxy as http://host:port (or https, socks5, socks5h), received another "
            "value: mend it, or unset it"
        )
    return url


def _without_proxy(named: str) -> str:
    """What `no_proxy` says, as all clients read it, and loopback."""
    if named == "*":
        return named
    hosts = map(_without_brackets, named.split(","))
    return ",".join(dict.fromkeys(host for host in (*hosts, *LOOPBACK) if host))


def _without_brackets(entry: str) -> str:
    """An IPv6 address alone, a domain as .domain; nothing for a network of IPv6, at which httpx gives up."""
    host = entry.strip().removeprefix("*")
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    return "" if host.count(":") > 1 and "/" in host and "://" not in host else host


def socks_alone(environ: Mapping[str, str]) -> bool:
    """Whether a client that speaks to no SOCKS proxy is left without any."""
    return _either(environ, "all_proxy").startswith("socks") and not _either(environ, "https_proxy")


def pass_loopback_by_proxies() -> None:
    """Let no client of this process, nor of a child, ask a server on loopback through a proxy."""
    os.environ.update(of_proxies(os.environ))
