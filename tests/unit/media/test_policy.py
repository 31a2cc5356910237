"""Which addresses may be fetched from, by what they say and by what they resolve to."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from milvane.domain.errors import MediaRejected
from milvane.media.policy import FetchRules, is_public

RULES = FetchRules()


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://a.example", "a.example", 80, "/"),
        ("https://A.Example./x?y=1#z", "a.example", 443, "/x?y=1"),
        ("https://a.example:8443/x%20y", "a.example", 8443, "/x%20y"),
        ("http://[2606:4700::1111]/", "2606:4700::1111", 80, "/"),
        ("https://例え.example/图", "xn--r8jz45g.example", 443, "/%E5%9B%BE"),
        ("https://a_b.example/x", "a_b.example", 443, "/x"),
    ],
)
def test_an_address_is_read(url: str, host: str, port: int, path: str) -> None:
    """The host is in ASCII, the port is the scheme's own unless it is given, the rest is ASCII."""
    target = RULES.check_url(url)
    assert (target.host, target.port, target.path) == (host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/",
        "file:///etc/passwd",
        "http:///x",
        "http://",
        "//a.example/x",
        "http://user@a.example/",
        "http://user:word@a.example/",
        "http://@a.example/",
        "http://a.example:0/",
        "http://a.example:22/",
        "http://a.example:65536/",
        "http://a.example:x/",
        "http://a.example\\@b.example/",
        "http://a.example/\r\nHost: b",
        "http://a b.example/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://a..b|c/",
        "http://" + "a" * 254 + "/",
        "http://a.example/" + "x" * 8192,
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Other schemes, credentials, closed ports and whatever parsers disagree on are refused."""
    with pytest.raises(MediaRejected):
        RULES.check_url(url)


def test_domains_are_allowed_and_denied_by_name() -> None:
    """A name stands for itself, a star for all below, and who is denied is not allowed."""
    rules = FetchRules(allowed_domains=["a.example", "*.b.example"], denied_domains=["x.b.example"])
    for host in ("a.example", "A.example.", "c.b.example", "d.c.b.example"):
        rules.check_url(f"https://{host}/")
    for host in ("b.example", "c.a.example", "x.b.example", "notb.example", "ab.example"):
        with pytest.raises(MediaRejected):
            rules.check_url(f"https://{host}/")


def test_plain_http_can_be_closed() -> None:
    """Where only encrypted addresses are fetched, the others are refused."""
    rules = FetchRules(allows_http=False)
    rules.check_url("https://a.example/")
    with pytest.raises(MediaRejected, match="https"):
        rules.check_url("http://a.example/")


def test_low_ports_can_be_opened() -> None:
    """A port below 1024 is asked only where the operator says so."""
    assert FetchRules(allowed_ports=[81]).check_url("http://a.example:81/").port == 81


def test_a_redirect_keeps_the_encryption() -> None:
    """From an encrypted address one is not led to a plain one; the other way round, one is."""
    plain, safe = RULES.check_url("http://a.example/x/y"), RULES.check_url("https://a.example/")
    assert RULES.check_redirect(plain, "https://b.example/").scheme == "https"
    assert RULES.check_redirect(plain, "../z").url == "http://a.example/z"
    for location in ("http://a.example/", "ftp://a.example/", "https://user@b.example/"):
        with pytest.raises(MediaRejected):
            RULES.check_redirect(safe, location)
    with pytest.raises(MediaRejected):
        RULES.check_redirect(safe, "https://[")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.2.3.4", True),
        ("10.3.0.1", False),
        ("::ffff:10.2.3.4", True),
        ("fd12::5", True),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("100.100.100.201", True),
        ("169.254.169.254", False),
        ("64:ff9b::a02:304", True),
        ("64:ff9b::a03:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("93.184.215.14", True),
        ("8.8.8.8", False),
    ],
)
def test_private_networks_are_opened_by_the_operator(address: str, allowed: bool) -> None:
    """What is allowed is open, but for metadata; what is denied is closed, public or not."""
    rules = FetchRules(
        allowed_networks=[
            ip_network(each)
            for each in (
                "10.2.0.0/16",
                "fc00::/7",
                "100.64.0.0/10",
                "169.254.0.0/16",
                "64:ff9b::/96",
            )
        ],
        denied_networks=[ip_network("8.8.8.0/24")],
    )
    assert rules.may_connect(ip_address(address)) is allowed


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1"]
)
def test_the_internet_is_public(address: str) -> None:
    """Addresses of the Internet may be connected to, also in the form of a mapped one."""
    assert is_public(ip_address(address))
    assert RULES.may_connect(ip_address(address))
