"""
Proofs that a header with a key is not enough for: Amazon's signatures and Google's tokens.

Each needs one library, which is installed with an extra of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from milvane.domain.errors import InvalidInput

GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GOOGLE_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE_TOKEN_LIFETIME_S = 3600
_SIGNING_TIMEOUT_S = 5.0


def _missing(package: str, extra: str) -> InvalidInput:
    return InvalidInput(
        f"the provider {extra} needs the package {package}, which is not installed on the server: "
        f"pip install 'milvane[{extra}]'"
    )


def sign_for_bedrock(
    url: str, body: bytes, *, region: str, access_key_id: str, secret_access_key: str
) -> Mapping[str, str]:
    """
    Sign a request as Amazon asks for (Signature Version 4).

    Returns:
        The headers to send, all of which are signed.

    Raises:
        InvalidInput: If the library is not installed.
    """
    try:
        from awscrt import auth, http
    except ImportError as error:
        raise _missing("awscrt", "bedrock") from error
    parts = urlsplit(url)
    headers = [("Host", parts.netloc), ("Content-Type", "application/json")]
    request = http.HttpRequest("POST", parts.path, http.HttpHeaders(headers), BytesIO(body))
    signing = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=auth.AwsCredentialsProvider.new_static(
            access_key_id, secret_access_key
        ),
        region=region,
        service="bedrock",
    )
    # Nothing is waited for: a fixed pair of keys needs no other machine.
    signed = auth.aws_sign_request(request, signing).result(timeout=_SIGNING_TIMEOUT_S)
    return dict(signed.headers)


def read_google_key(document: str) -> Mapping[str, Any]:
    """
    Read a service account key.

    Raises:
        InvalidInput: If it is none; the message shows nothing of it.
    """
    try:
        key = json.loads(document)
    except ValueError:
        key = None
    needed = ("client_email", "private_key", "token_uri")
    if not isinstance(key, dict) or not all(isinstance(key.get(name), str) for name in needed):
        raise InvalidInput(
            "the Google credential is not a service account key: it needs client_email, "
            "private_key and token_uri"
        )
    return key


def google_assertion(key: Mapping[str, Any], *, now_s: float) -> str:
    """
    Sign the statement that is exchanged for a token (RFC 7523).

    Args:
        key: A service account key.

        now_s: Seconds since 1970.

    Raises:
        InvalidInput: If the library is not installed, or the key is damaged.
    """
    try:
        from google.auth import crypt, jwt
    except ImportError as error:
        raise _missing("google-auth", "vertexai") from error
    try:
        signer = crypt.RSASigner.from_service_account_info(key)
    except ValueError:
        raise InvalidInput("the private key of the Google credential cannot be read") from None
    claims = {
        "iss": key["client_email"],
        "scope": GOOGLE_SCOPE,
        "aud": key["token_uri"],
        "iat": int(now_s),
        "exp": int(now_s) + _GOOGLE_TOKEN_LIFETIME_S,
    }
    return str(jwt.encode(signer, claims).decode())
