"""The server's certificate: what is refused, what is warned of, and rotation."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from certificates import Authority, Pair
from milvane.domain.errors import InvalidInput
from milvane.gateway.tls import TlsIdentity, TlsSettings, expires_at, find_flaws, open_context
from milvane.settings import load_settings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs."""
    return Authority(tmp_path)


def settings_of(pair: Pair, **others: object) -> TlsSettings:
    """Name the files of a pair."""
    return TlsSettings(certificate=pair.certificate, private_key=pair.key, **others)


def test_good_pair_has_no_flaws(authority: Authority) -> None:
    """A pair that clients take is opened without a word, and its end is known."""
    settings = settings_of(authority.issue("server"), client_ca=authority.file)
    context = open_context(settings, ["h2"])
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert find_flaws(settings) == []
    until = expires_at(settings)
    assert until is not None
    assert 29 * 86400 < until.timestamp() - time.time() < 31 * 86400


@pytest.mark.parametrize("key", ["certificate", "private_key", "client_ca"])
def test_missing_file_is_named_with_the_cure(authority: Authority, key: str) -> None:
    """The message says which setting, which file, why, and what to do."""
    settings = settings_of(authority.issue("server"), client_ca=authority.file)
    absent = settings.model_copy(update={key: Path("/nowhere/at-all.pem")})
    with pytest.raises(InvalidInput, match=f"tls.{key} /nowhere/at-all.pem cannot be read.*Name"):
        open_context(absent, [])


@pytest.mark.parametrize("key", ["certificate", "private_key", "client_ca"])
def test_file_that_is_something_else_is_named(authority: Authority, key: str) -> None:
    """A file in another form is told from one that is missing."""
    settings = settings_of(authority.issue("server"), client_ca=authority.file)
    other = authority.file.with_name("other.pem")
    other.write_bytes(b"\x30\x82 binary")
    with pytest.raises(InvalidInput, match=f"tls.{key} .*other.pem holds no .* in PEM form"):
        open_context(settings.model_copy(update={key: other}), [])


@pytest.mark.parametrize("key", ["certificate", "private_key", "client_ca"])
def test_damaged_file_is_named(authority: Authority, key: str) -> None:
    """A file whose content cannot be decoded is refused, and named."""
    settings = settings_of(authority.issue("server"), client_ca=authority.file)
    lines = settings.files[key].read_text().splitlines()
    damaged = authority.file.with_name("damaged.pem")
    damaged.write_text("\n".join([lines[0], "AAAA", lines[-1]]))
    with pytest.raises(InvalidInput, match=r"damaged.pem.* cannot be used"):
        open_context(settings.model_copy(update={key: damaged}), [])


def test_key_of_another_certificate_is_refused(authority: Authority) -> None:
    """A pair that does not belong together never gets to a client."""
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(InvalidInput, match=r"other.key is not the key of .*one.crt"):
        open_context(settings_of(Pair(one.certificate, other.key)), [])


def test_encrypted_key_is_refused_at_once(authority: Authority) -> None:
    """Nobody is asked for a password; the message says how to do without one."""
    pair = authority.issue("server", password=b"secret")
    with pytest.raises(InvalidInput, match=r"server.key is encrypted.*openssl pkey"):
        open_context(settings_of(pair), [])


def test_expired_certificate_is_warned_of(authority: Authority) -> None:
    """The server starts with it, and says that clients will not take it."""
    settings = settings_of(authority.issue("old", days=-1))
    open_context(settings, [])
    assert [flaw for flaw in find_flaws(settings) if "has expired" in flaw]
    assert expires_at(settings) is None


def test_certificate_that_expires_soon_is_warned_of(authority: Authority) -> None:
    """Two weeks before the end it is said, and not earlier."""
    settings = settings_of(authority.issue("server", days=30))
    assert find_flaws(settings, now=time.time() + 15 * 86400) == []
    soon = find_flaws(settings, now=time.time() + 16.5 * 86400)
    assert any("expires in 13.5 days" in flaw for flaw in soon)


def test_nameless_certificate_and_open_key_are_warned_of(authority: Authority) -> None:
    """What clients refuse, and what everybody can read, is said."""
    pair = authority.issue("server", named=False)
    pair.key.chmod(0o644)
    said = " ".join(find_flaws(settings_of(pair)))
    assert "no subjectAltName" in said
    assert "chmod 600" in said


@pytest.mark.parametrize(
    "given",
    [{"certificate": "a.pem"}, {"private_key": "a.pem"}, {"client_ca": "a.pem"}],
)
def test_half_a_pair_is_refused(given: dict[str, str]) -> None:
    """A forgotten setting does not leave a port in the clear."""
    with pytest.raises(ValidationError, match="certificate and private_key"):
        TlsSettings(**given)


def test_rotated_files_are_used_and_half_a_rotation_is_not(authority: Authority) -> None:
    """New files are taken as soon as they fit; until then the old ones serve."""
    now = [0.0]
    pair, renewed = authority.issue("server"), authority.issue("renewed")
    identity = TlsIdentity(settings_of(pair), ["h2"], clock=lambda: now[0])
    first = identity.context()
    now[0] += 2
    assert identity.context() is first
    renewed.certificate.replace(pair.certificate)
    now[0] += 2
    assert identity.context() is first
    renewed.key.replace(pair.key)
    assert identity.context() is first, "looked at once a second only"
    now[0] += 2
    assert identity.context() is not first


def test_client_certificates_do_not_stand_for_credentials(authority: Authority) -> None:
    """An address that others reach needs users or keys, also where clients need a certificate."""
    pair = authority.issue("server")
    tls = {"certificate": pair.certificate, "private_key": pair.key, "client_ca": authority.file}
    with pytest.raises(InvalidInput, match="can be reached from other machines"):
        load_settings({"server": {"host": "0.0.0.0"}, "tls": tls})
    users = {"users": {"root": "Milvus"}}
    assert load_settings({"server": {"host": "0.0.0.0"}, "tls": tls, "access": users})
