"""
From where media may be fetched.

Pure: addresses are looked up and connected to in `fetching`. What is refused by what a caller wrote
is refused in words; what is refused by what a name resolves to, or by who answers, is refused in
one and the same words, which tell nothing about machines behind the firewall.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import idna

from milvane.domain.errors import MediaRejected

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

UNREACHABLE = (
    "it cannot be fetched: its server does not exist, does not answer in time, or may not be asked"
)
"""For all that could tell a caller what is behind the firewall, whichever it was."""

MAX_ADDRESS_CHARACTERS = 8192
_PORTS = {"http": 80, "https": 443}
_FIRST_FREE_PORT = 1024
# What may stand in an address as it is; other characters of it are those of other languages.
_SAFE = "!#$%&'()*+,/:;=?@[]~"

# https://www.iana.org/assignments/iana-ipv4-special-registry: all that is not globally reachable.
_CLOSED_V4 = tuple(
    IPv4Network(each)
    for each in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_OPEN_V6 = IPv6Network("2000::/3")
"""All of it that was ever given out; beyond it are link-local, unique local, NAT64 and more."""
_CLOSED_V6 = tuple(
    IPv6Network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
"""Teredo and other services of protocols, documentation, 6to4, documentation."""
_METADATA: frozenset[Address] = frozenset(
    ip_address(each)
    for each in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, Oracle and others
        "169.254.170.2",  # containers of AWS
        "169.254.170.23",
        "169.254.0.23",  # Tencent
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure; a public address that only its machines reach
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be asked, if all that its host resolves to may be connected to."""

    scheme: str
    host: str
    """In ASCII and lower case; of an IPv6 address without brackets."""
    port: int
    path: str
    """In ASCII, with the query; never to be shown, since it may be signed."""

    @property
    def authority(self) -> str:
        """What a server is told as its host."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def url(self) -> str:
        """All of it."""
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class FetchRules:
    """Decides on addresses, by the operator's settings."""

    allows_http: bool = True
    allowed_domains: Sequence[str] = ()
    denied_domains: Sequence[str] = ()
    allowed_networks: Sequence[Network] = ()
    denied_networks: Sequence[Network] = ()
    allowed_ports: Sequence[int] = ()

    def check_url(self, url: str) -> Target:
        """
        Read an address, and refuse it if what it says is enough to.

        Raises:
            MediaRejected: In words, none of them from the address's path or query.
        """
        target = _read(url)
        if target.scheme == "http" and not self.allows_http:
            raise MediaRejected("addresses of http:// are not fetched here: use https://")
        if target.port < _FIRST_FREE_PORT and target.port not in (80, 443, *self.allowed_ports):
            raise MediaRejected(f"nothing is fetched from port {target.port}")
        if _is_named(target.host, self.denied_domains) or (
            self.allowed_domains and not _is_named(target.host, self.allowed_domains)
        ):
            raise MediaRejected(f"nothing is fetched from {target.host[:100]}")
        return target

    def check_redirect(self, current: Target, location: str) -> Target:
        """
        Read where an answer sends us, by the same rules; what was encrypted stays so.

        Raises:
            MediaRejected: If that may not be asked.
        """
        try:
            joined = urljoin(current.url, location)
        except ValueError as error:
            raise MediaRejected(UNREACHABLE) from error
        target = self.check_url(joined)
        if current.scheme == "https" and target.scheme != "https":
            raise MediaRejected("it is redirected from https:// to http://, which is not followed")
        return target

    def may_connect(self, address: Address) -> bool:
        """Say whether an address that a name resolved to may be connected to."""
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        if mapped is not None:
            return self.may_connect(mapped)
        if address in _METADATA or _is_in(address, self.denied_networks):
            return False
        if not is_public(address) and not _is_in(address, self.allowed_networks):
            return False
        inner = _embedded(address)
        return inner is None or self.may_connect(inner)


def is_public(address: Address) -> bool:
    """Say whether an address is one that anybody's machine in the Internet can have."""
    if isinstance(address, IPv4Address):
        return not _is_in(address, _CLOSED_V4) and address not in _METADATA
    mapped = address.ipv4_mapped
    if mapped is not None:
        return is_public(mapped)
    return address in _OPEN_V6 and not _is_in(address, _CLOSED_V6) and address.scope_id is None


def _read(url: str) -> Target:
    if len(url) > MAX_ADDRESS_CHARACTERS:
        raise MediaRejected(f"its address has more than {MAX_ADDRESS_CHARACTERS} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise MediaRejected("its address has characters that no address has")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise MediaRejected("its address cannot be read") from error
    if parts.scheme not in _PORTS:
        raise MediaRejected("only addresses of http:// and https:// are fetched")
    if "@" in parts.netloc:
        raise MediaRejected("its address has a user name or a password, which are not sent")
    path = quote(parts.path or "/", safe=_SAFE) + (
        f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    )
    return Target(
        parts.scheme, _read_host(host), _PORTS[parts.scheme] if port is None else port, path
    )


def _read_host(host: str) -> str:
    if ":" in host:
        if "%" in host:
            raise MediaRejected(UNREACHABLE)  # an address that only this machine understands
        try:
            return str(IPv6Address(host))
        except ValueError as error:
            raise MediaRejected("its address cannot be read") from error
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise MediaRejected("its address names no host") from error
    name = name.lower().removesuffix(".")
    if not 1 <= len(name) <= 253 or not all(char.isalnum() or char in "-._" for char in name):
        raise MediaRejected("its address names no host")
    return name


def _is_named(host: str, domains: Iterable[str]) -> bool:
    return any(
        host.endswith(domain[1:]) if domain.startswith("*.") else host == domain
        for domain in domains
    )


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == each.version and address in each for each in networks)


def _embedded(address: Address) -> IPv4Address | None:
    """Find the IPv4 address that a translator behind an IPv6 address connects to."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None
