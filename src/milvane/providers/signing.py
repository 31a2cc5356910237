"""
Proofs that a header with a key is not enough for: Amazon's signatures and Google's tokens.

Each needs one library, which is installed with an extra of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from milvane.domain.errors import InvalidInput

GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GOOGLE_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE_TOKEN_LIFETIME_S = 3600


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
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError as error:
        raise _missing("botocore", "bedrock") from error
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials(access_key_id, secret_access_key), "bedrock", region).add_auth(request)
    return dict(request.headers.items())


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
