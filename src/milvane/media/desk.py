"""Who may do what with which object: signatures compared, and objects opened by signed address."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from milvane.media.content_records import has_any
from milvane.media.contents import Contents
from milvane.media.errors import BadArgument, BadObjectName, SignatureMismatch, UnknownAccessKey
from milvane.media.folder import FolderContents
from milvane.media.keys import AccessKey, Keyring, find_key
from milvane.media.objects import MediaObject, Place
from milvane.media.settings import MediaSettings
from milvane.media.signing import (
    SignedRequest,
    check_time,
    has_signed,
    is_signed,
    read_signature,
    sign_address,
)
from milvane.media.store import MediaStore
from milvane.storage.database import Database
from milvane.storage.files import utc_now

LOG = logging.getLogger(__name__)


class MediaDesk:
    """Checks requests to the store, and signs addresses of it."""

    def __init__(self, store: MediaStore, keyring: Keyring) -> None:
        self.store = store
        self._keyring = keyring

    async def admit(self, request: SignedRequest, *, host: str, raw_path: bytes) -> Place:
        """
        Say which place a signed request may do its work at.

        A bucket stands at the beginning of the host or of the path: the signature, which names the
        bucket and the key, says which of the two is meant.

        Args:
            request: What is signed but for the bucket and the key.

            host: The header of that name.

            raw_path: As it came, with percent signs.

        Returns:
            The place; its key is empty where the bucket itself is meant.

        Raises:
            UnknownAccessKey: If there is no such key.
            SignatureMismatch: If it did not sign this.
            ClockSkewed, AddressExpired: If it did so for another time.
            BadArgument, BadObjectName: If the request cannot be read.
        """
        signature = read_signature(request)
        now = self.store.clock()
        key = await self.store.database.read(
            lambda connection: find_key(connection, signature.access_key_id, now)
        )
        if key is None:
            raise UnknownAccessKey(
                "The OSS Access Key Id you provided does not exist in our records."
            )
        secret = self._keyring.secret_of(key.access_key_id)
        for bucket, name in read_places(host, raw_path):
            if has_signed(secret, signature, request, bucket, name):
                settings = self.store.settings
                check_time(
                    signature,
                    now,
                    clock_skew_s=settings.clock_skew_s,
                    max_url_s=settings.max_url_s,
                )
                return Place(key.tenant, bucket, name)
        raise SignatureMismatch(
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        )

    async def find_address(self, url: str) -> MediaObject | None:
        """
        Look up what a signed address of this store names, without asking over the network.

        The host is not looked at: it is a name of this server, whichever one.

        Returns:
            The object; none if the address has no signature of OSS, or not one of a key of this
            store.

        Raises:
            ServiceError: If it is one of ours, and is expired, changed, or names nothing.
        """
        parts = urlsplit(url)
        request = SignedRequest("GET", read_parameters(parts.query), {})
        if parts.scheme not in ("http", "https") or not is_signed(request):
            return None
        try:
            place = await self.admit(request, host=parts.netloc, raw_path=parts.path.encode())
        except UnknownAccessKey:
            return None  # of an object store elsewhere
        return await self.store.find(place)

    def sign(self, base_url: str, place: Place, key: AccessKey, *, expires_at: datetime) -> str:
        """Make an address with which anybody may read an object until a time."""
        return sign_address(
            base_url,
            place.bucket,
            place.key,
            access_key_id=key.access_key_id,
            secret=self._keyring.secret_of(key.access_key_id),
            expires_at=expires_at,
        )


@asynccontextmanager
async def open_desk(
    database: Database,
    settings: MediaSettings,
    data_dir: Path,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> AsyncIterator[MediaDesk]:
    """Open the store where its contents are kept, and the secret in its folder."""
    folder = folder_of(settings, data_dir)
    async with AsyncExitStack() as stack:
        contents: Contents = FolderContents(database, folder / "contents")
        if settings.bucket is not None:
            from milvane.media.bucket_contents import BucketContents  # most have no bucket
            from milvane.media.bucket_requests import Bucket

            bucket = await stack.enter_async_context(Bucket(settings.bucket))
            contents = BucketContents(database, bucket, contents, clock)
        elif await database.read(has_any):
            LOG.error(
                "objects of the media store are in a bucket, and media.bucket does not say in "
                "which: they cannot be read"
            )
        store = MediaStore(database, folder, settings, contents, clock=clock)
        await store.prepare()
        yield MediaDesk(store, await database.run(lambda: Keyring.open(folder)))


def folder_of(settings: MediaSettings, data_dir: Path) -> Path:
    """Say where media is kept."""
    return settings.folder or data_dir / "media"


def read_parameters(query: str) -> dict[str, str]:
    """
    Read the parameters of an address.

    Raises:
        BadArgument: If they cannot be read, or one is there twice.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=64, errors="strict")
    except ValueError as error:
        raise BadArgument("the address's parameters cannot be read") from error
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise BadArgument("the address has a parameter twice")
    return parameters


def read_places(host: str, raw_path: bytes) -> Sequence[tuple[str, str]]:
    """
    Read the bucket and the key that a path may mean: by the path alone, and with the host.

    Raises:
        BadObjectName: If they are not UTF-8.
    """
    first, _, rest = raw_path.removeprefix(b"/").partition(b"/")
    try:
        places = [(unquote_to_bytes(first).decode(), unquote_to_bytes(rest).decode())]
        whole = unquote_to_bytes(raw_path.removeprefix(b"/")).decode()
    except UnicodeDecodeError as error:
        raise BadObjectName("an object's name is UTF-8") from error
    label, dot, _ = host.partition(".")
    if dot and not _is_address(host):
        places.append((label.lower(), whole))
    return places


def _is_address(host: str) -> bool:
    try:
        ip_address(host.rpartition(":")[0] if host.count(":") == 1 else host)
    except ValueError:
        return False
    return True
