"""No address leads behind the firewall, and no bytes are taken for a picture in error."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.errors import MediaRejected
from milvane.media.kinds import KINDS, recognise
from milvane.media.policy import FetchRules, is_public
from milvane.media.sources import address_key, read_data

RULES = FetchRules()
CLOSED = [
    ip_network(each)
    for each in (
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "0.0.0.0/8",
    )
]


def within(network: IPv4Network | IPv6Network) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Draw an address of a network, its ends more often than others."""
    last = network.num_addresses - 1
    return st.one_of(st.just(0), st.just(last), st.integers(0, last)).map(network.__getitem__)


@given(st.sampled_from(CLOSED).flatmap(within), st.integers(0, 2**80 - 1))
@example(IPv4Address("127.0.0.1"), 0)
@example(IPv4Address("169.254.169.254"), 0)
def test_a_closed_address_is_closed_in_every_form(address: IPv4Address, rest: int) -> None:
    """An address that is closed is closed mapped, translated or tunnelled into IPv6 as well."""
    number = int(address)
    forms = [
        address,
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address(0x2002 << 112 | number << 80 | rest),
        IPv6Address(0x20010000 << 96 | (rest << 32) % 2**96 | number ^ 0xFFFFFFFF),
    ]
    assert not any(RULES.may_connect(form) or is_public(form) for form in forms)


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
@example(IPv6Address("::1"))
@example(IPv6Address("fe80::1"))
@example(IPv6Address("4000::"))
@example(IPv6Address("2001:1ff:ffff::"))
def test_what_python_calls_private_is_closed(address: IPv6Address) -> None:
    """Nothing is open that the standard library does not hold for globally reachable."""
    if not address.is_global or address.is_multicast:
        assert not RULES.may_connect(address)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
@example(IPv4Address("100.63.255.255"))
@example(IPv4Address("168.63.129.16"))
def test_ipv4_is_closed_where_python_says_so(address: IPv4Address) -> None:
    """As for IPv6; and what is open there is open here, but for a few services of providers."""
    if not address.is_global or address.is_multicast:
        assert not RULES.may_connect(address)
    elif address not in IPv4Network("192.88.99.0/24") and str(address) != "168.63.129.16":
        assert RULES.may_connect(address) or address in IPv4Network("192.0.0.0/24")


@given(st.text(), st.sampled_from(["", "http://", "https://", "http://a.example/", "http://[::1"]))
@example("\udcff", "http://")
@example("[", "http://")
@example("@:", "http://a")
def test_whatever_is_written_is_refused_or_read(text: str, start: str) -> None:
    """An address is understood or refused, and never anything else; what is read stays the same."""
    with suppress(MediaRejected):
        target = RULES.check_url(start + text)
        assert target.url.isascii()
        assert target.url.isprintable()
        assert RULES.check_url(target.url) == target
    with suppress(
        ValueError
    ):  # of the standard library's parser; such an address is refused before
        address_key(start + text, "t")


@given(st.binary(max_size=400), st.sampled_from([b"", *[b"\0\0\x01\xba", b"RIFF", b"\0\0\0\x20"]]))
def test_any_bytes_are_recognised_or_refused(content: bytes, start: bytes) -> None:
    """Whatever arrives has a known kind or is refused."""
    with suppress(MediaRejected):
        assert recognise(start + content).name in KINDS


@given(st.text(max_size=200))
@example("image/png;base64,aGVsbG8")
def test_any_data_uri_is_read_or_refused(rest: str) -> None:
    """Whatever follows is read within the bound, or refused."""
    with suppress(MediaRejected):
        assert len(read_data(f"data:{rest}", max_bytes=50)) <= 50
