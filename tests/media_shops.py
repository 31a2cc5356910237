"""A media store on a real loopback port, with the real `oss2`, for tests of it."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from loopback import served_app
from milvane.apis.dialects import answer_unexpected
from milvane.apis.middleware import LastResort, RequestIds
from milvane.apis.oss.door import OssDoor
from milvane.media.desk import MediaDesk, open_desk
from milvane.media.keys import AccessKey, Keyring, create_key
from milvane.media.settings import MediaSettings
from milvane.storage.database import Database
from milvane.storage.files import utc_now
from milvane.storage.settings import StorageSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it has escapes in strings that Python warns of
    import oss2

MINE, THEIRS = "mine", "theirs"


@dataclass
class WrongClock:
    """The time of day, but for a difference."""

    off_s: float = 0.0

    def __call__(self) -> datetime:
        """Tell the time."""
        return utc_now() + timedelta(seconds=self.off_s)


@dataclass
class Shop:
    """A store, what stands before it, and who may use it."""

    desk: MediaDesk
    keyring: Keyring
    folder: Path
    clock: WrongClock
    keys: dict[str, AccessKey] = field(default_factory=dict)
    """By tenant."""
    url: str = ""

    def auth(self, tenant: str = MINE, *, version: int = 1) -> oss2.Auth:
        """Make what signs for a tenant."""
        key = self.keys[tenant]
        kind = {1: oss2.Auth, 2: oss2.AuthV2, 4: oss2.AuthV4}[version]
        return kind(key.access_key_id, self.keyring.secret_of(key.access_key_id))

    def bucket(self, tenant: str = MINE, *, version: int = 1, name: str = "002test") -> oss2.Bucket:
        """Make the client of a tenant's bucket."""
        return oss2.Bucket(self.auth(tenant, version=version), self.url, name, region="local")

    def leftovers(self) -> list[str]:
        """Say what is in the folders without being the content of an object."""
        return [path.name for path in (self.folder / "incoming").iterdir()]

    def contents(self) -> list[str]:
        """Say which contents are there."""
        return sorted(path.name for path in (self.folder / "contents").iterdir())


@asynccontextmanager
async def open_shop(
    folder: Path,
    settings: MediaSettings | None = None,
    storage: StorageSettings | None = None,
) -> AsyncIterator[Shop]:
    """Open a store with a key for each of two tenants, without a port."""
    clock = WrongClock()
    async with Database(storage or StorageSettings(), folder) as database:
        media = settings or MediaSettings()
        async with open_desk(database, media, folder, clock=clock) as desk:
            shop = Shop(desk, Keyring.open(folder / "media"), folder / "media", clock)
            for tenant in (MINE, THEIRS):
                shop.keys[tenant] = await database.write(
                    lambda connection, tenant=tenant: create_key(
                        connection, label="test", tenant=tenant, now=clock()
                    )
                )
            yield shop


@asynccontextmanager
async def served_shop(folder: Path, settings: MediaSettings | None = None) -> AsyncIterator[Shop]:
    """Serve a store; what is not for it is answered with status 418."""
    app: ASGIApp = PlainTextResponse("not for the store", 418)
    async with open_shop(folder, settings) as shop:
        door = LastResort(OssDoor(app, desk=shop.desk), answer=answer_unexpected)
        with served_app(RequestIds(door)) as url:
            shop.url = url
            yield shop


def make_auth(data_dir: Path) -> oss2.Auth:
    """Make an access key with the command line, as a person does; gives what signs with it."""
    command = [sys.executable, "-m", "milvane.cli", "media", "keys", "create", "test", "--json"]
    run = subprocess.run(
        [*command, "--data-dir", data_dir], capture_output=True, text=True, check=True
    )
    key = json.loads(run.stdout)
    return oss2.Auth(key["access_key_id"], key["access_key_secret"])
