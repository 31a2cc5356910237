"""
Reading the parameters that several providers have in common.

Rules and wording follow Milvus 2.6, since clients and tests match on the messages.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from milvane.domain.errors import InvalidInput
from milvane.domain.providers import ProviderFunction

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_PLACE = re.compile(r"[a-z0-9-]{1,63}")
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal"})
_METADATA_ADDRESSES = frozenset({"100.100.100.200", "fd00:ec2::254"})
"""Of Alibaba Cloud and of Amazon; that of all others is link-local."""
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def read_model(function: ProviderFunction) -> str:
    """Read the model's name; empty if there is none, for the provider to refuse or to choose."""
    return function.params.get("model_name", "")


def read_dimension(function: ProviderFunction) -> int | None:
    """
    Read the dimension to ask for; 0 means that none is asked for, as in Milvus.

    Raises:
        InvalidInput: If it is no number, or not that of the field.
    """
    text = function.params.get("dim")
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise InvalidInput(f"dimension [{text}] provided in Function params is not a valid int")
    dimension, field = int(text), function.output
    if dimension not in (0, field.dimension):
        raise InvalidInput(
            f"Function output field:[{field.name}]'s dimension [{field.dimension}] does not match "
            f"the dimension [{dimension}] provided in Function params."
        )
    return dimension or None


def parse_bool(text: str) -> bool | None:
    """Read a boolean in the spellings that Go takes; none if it is not one."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else None


def read_bool(function: ProviderFunction, key: str) -> bool | None:
    """
    Read a boolean parameter; none if it is not given.

    Raises:
        InvalidInput: If it is not one.
    """
    text = function.params.get(key)
    if text is None:
        return None
    value = parse_bool(text)
    if value is None:
        raise InvalidInput(f"[{key} param's value: {text}] is invalid, only supports: [true/false]")
    return value


def read_positive(function: ProviderFunction, key: str, default: int) -> int:
    """
    Read a number above 0.

    Raises:
        InvalidInput: If it is no number, or not above 0.
    """
    text = function.params.get(key)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text):
        raise InvalidInput(f"[{key} param's value: {text}] is not a valid number")
    if int(text) <= 0:
        raise InvalidInput(f"[{key} param's value: {text}] must be greater than 0")
    return int(text)


def read_place(function: ProviderFunction, key: str, default: str) -> str:
    """
    Read a region, which becomes part of a host name.

    Raises:
        InvalidInput: If it could lead to another host.
    """
    place = function.params.get(key) or default
    if not _PLACE.fullmatch(place):
        raise InvalidInput(f"[{key} param's value: {place}] is not a valid region")
    return place


def split_url(url: str) -> SplitResult:
    """
    Check a URL and take it apart.

    Raises:
        InvalidInput: If it is not one of HTTP, or leads to this machine's own cloud metadata.
    """
    refusal = InvalidInput(f"endpoint: [{url}] is not a valid http/https link")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise refusal from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refusal
    if _is_metadata_service(parts.hostname):
        raise InvalidInput(f"endpoint: [{url}] is an address that functions may not call")
    return parts


def _is_metadata_service(host: str) -> bool:
    """Say whether a host is where clouds hand out a machine's own identity."""
    address = _read_address(host)
    if address is None:
        return host in _METADATA_NAMES
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_link_local or str(address) in _METADATA_ADDRESSES


def _read_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    with suppress(OSError):
        return ipaddress.ip_address(socket.inet_aton(host))  # 2852039166, 0xA9.0xFE.1: old forms
    return None


def origin_of(url: str) -> str:
    """
    Say scheme, host and port of a URL, in one spelling.

    Raises:
        InvalidInput: If it is not one of HTTP.
    """
    parts = split_url(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}:{port}"


def place_url(given: str, default: str) -> str:
    """
    Choose where requests go.

    Args:
        given: The function's or the operator's URL; empty if neither has one.

        default: The provider's own, with its path.

    Returns:
        The given URL; with the default's path if it has none.

    Raises:
        InvalidInput: If the given URL is not one of HTTP.
    """
    if not given:
        return default
    parts = split_url(given)
    if parts.path.strip("/"):
        return given
    path = urlsplit(default)
    return urlunsplit((parts.scheme, parts.netloc, path.path, parts.query or path.query, ""))


def with_path(given: str, path: str, *, query: str = "") -> str:
    """
    Put another path on a URL.

    Raises:
        InvalidInput: If the URL is not one of HTTP.
    """
    parts = split_url(given)
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def quote_segment(text: str) -> str:
    """Write a text as one segment of a path, whatever it holds."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted.strip(".") == "" else quoted
