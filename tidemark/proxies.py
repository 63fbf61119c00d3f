"""Proxies of a person's environment: for what is outside, by every client alike, and never for loopback."""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from tidemark.errors import ConfigurationError

LOOPBACK = ("localhost", "127.0.0.1", "::1")  # where our own servers are: a proxy is elsewhere
PROXIES = ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy")
SCHEMES = ("http", "https", "socks5", "socks5h")


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


def proxy_of(scheme: str, host: str) -> str:
    """host:port of the proxy by which this process asks a host, for an error; nothing where it asks none."""
    from urllib.request import getproxies, proxy_bypass

    found = getproxies()
    url = found.get(scheme) or found.get("all", "")
    if not url or proxy_bypass(host):
        return ""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return parts.netloc.rpartition("@")[2]


def pass_loopback_by_proxies() -> None:
    """Let no client of this process, nor of a child, ask a server on loopback through a proxy."""
    os.environ.update(of_proxies(os.environ))
