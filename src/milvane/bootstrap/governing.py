"""Who may use what, and what was used: the control plane and the ledger, joined."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milvane.control_plane.operators import ADMIN, Operators
from milvane.control_plane.plane import ControlPlane
from milvane.domain.catalogue import MODELS, WeightsName
from milvane.domain.models import ModelName
from milvane.metering.alerts.shelf import seal_addresses
from milvane.metering.alerts.watcher import AlertWatcher
from milvane.metering.recorder import UsageRecorder
from milvane.metering.reports import UsageReports
from milvane.serving.access import Authenticator
from milvane.serving.accounting import Accounts
from milvane.settings import Settings
from milvane.storage.database import Database
from milvane.storage.files import utc_now

if TYPE_CHECKING:
    from milvane.apis.management.bundle import Management

logger = logging.getLogger(__name__)

PASSWORD_FILE = "admin-password.txt"  # noqa: S105 - a name
"""Where the first operator's password is written, readable by the server's user alone."""


@dataclass(frozen=True, slots=True)
class Governance:
    """The components that every call is judged by and entered in."""

    database: Database
    plane: ControlPlane
    recorder: UsageRecorder
    reports: UsageReports
    accounts: Accounts
    authenticator: Authenticator

    def management(
        self,
        settings: Settings,
        served_by: Mapping[ModelName, WeightsName],
        ports: Mapping[str, int],
    ) -> Management:
        """Say what the management API works with; `ports` is filled as instances open."""
        from milvane.apis.management.bundle import Management  # the frameworks come with it

        return Management(
            plane=self.plane,
            reports=self.reports,
            clock=utc_now,
            served_instances=lambda: ports,
            served_by=served_by,
            session_s=settings.control.session_s,
        )


async def open_governance(stack: AsyncExitStack, settings: Settings) -> Governance:
    """Open the database, ledger and control plane; the first start offers all and binds it."""
    database = await stack.enter_async_context(Database(settings.storage, settings.server.data_dir))
    folder = settings.server.data_dir / "usage"
    recorder = await stack.enter_async_context(
        UsageRecorder(database, folder, settings.metering, clock=utc_now)
    )
    plane = await stack.enter_async_context(
        ControlPlane(database, settings.control, recorder, clock=utc_now)
    )
    instances = {each.name: each.uri or "" for each in settings.instances}
    await plane.prepare(list(MODELS), instances)
    await database.write(seal_addresses)
    reports = UsageReports(database, settings.metering, clock=utc_now)
    await stack.enter_async_context(
        AlertWatcher(
            database,
            reports,
            settings.alerts,
            plane.month_shares,
            lag_s=2 * settings.metering.fold_interval_s,
            clock=utc_now,
        )
    )
    return Governance(
        database=database,
        plane=plane,
        recorder=recorder,
        reports=reports,
        accounts=Accounts(plane, recorder),
        authenticator=Authenticator(settings.access, plane),
    )


@asynccontextmanager
async def welcomed(plane: ControlPlane, settings: Settings) -> AsyncIterator[None]:
    """
    Have the first operator, whose password is in a file that only this user can read.

    Takes a quarter of a second where there is none yet: as long as a password's hash does.
    """
    password = await Operators(plane).create_first()
    if password is not None:
        path = settings.server.data_dir / PASSWORD_FILE
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"{password}\n")
        logger.info("the console's operator is %s; the password is in %s", ADMIN, path)
    yield
