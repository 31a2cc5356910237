"""
The way out: notifications through Apprise, which speaks to e-mail, webhooks and chats.

The address of a channel is its secret: it is in no error, and Apprise and what it is built on log
nothing, as they would write it down. Addresses inside the operator's own network are allowed, other
than in documents that callers have fetched: only who may manage sets a channel.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any

from milvane.domain.errors import InvalidInput, UpstreamRejected
from milvane.metering.alerts.rules import Severity
from milvane.metering.alerts.states import AlertState

if TYPE_CHECKING:
    from apprise import NotifyBase

MAX_ADDRESS = 2000
_KIND = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,31})://.+", re.DOTALL)
_STATUS = re.compile(r"error=(\d{3})\b")


class _Eavesdropper(logging.Handler):
    """Keeps what Apprise logs about a notification, for the thread that sends it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the status of an answer, and nothing else: messages may have the address."""
        if found := _STATUS.search(record.getMessage()):
            self.heard.status = found[1]


_EAR = _Eavesdropper()
_LOADING = threading.Lock()  # guards the one load: warnings and loggers are the process's


def kind_of(url: str) -> str:
    """Say what kind of channel an address is of: the one part of it that may be shown."""
    found = _KIND.fullmatch(url)
    return found[1].lower() if found else ""


def check_address(url: str) -> None:
    """
    Look whether something can be sent to an address; nothing is sent.

    Raises:
        InvalidInput: If Apprise does not know how.
    """
    _open(url)


def send(url: str, *, title: str, body: str, severity: Severity, state: AlertState) -> None:
    """
    Send a notification, and wait until the channel has it; blocks, for some seconds at most.

    Raises:
        InvalidInput: If Apprise does not know how to send there.
        UpstreamRejected: If the channel did not take it.
    """
    channel = _open(url)
    _EAR.heard.status = ""
    try:
        has_gone = channel.notify(body=body, title=title, notify_type=_type_of(severity, state))
    except Exception as error:  # noqa: BLE001 - whatever one of a hundred services raises
        # Not its message, which may have the address.
        name = type(error).__name__
        raise UpstreamRejected(f"the {kind_of(url)} channel failed: {name}") from None
    if not has_gone:
        status = _EAR.heard.status
        answer = f"it answered {status}" if status else "it does not answer, or refuses the address"
        raise UpstreamRejected(f"the {kind_of(url)} channel did not take it: {answer}")


def _type_of(severity: Severity, state: AlertState) -> Any:
    from apprise import NotifyType

    if state is AlertState.RESOLVED:
        return NotifyType.SUCCESS
    if state is not AlertState.FIRING:
        return NotifyType.INFO
    return {
        Severity.INFO: NotifyType.INFO,
        Severity.WARNING: NotifyType.WARNING,
        Severity.CRITICAL: NotifyType.FAILURE,
    }[severity]


def _open(url: str) -> NotifyBase:
    kind = kind_of(url)
    if not kind or len(url) > MAX_ADDRESS:
        raise InvalidInput(
            "a channel needs an Apprise URL, such as json://host/path", parameter="url"
        )
    _load()
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(app_id="Milvane", app_desc="Milvane alerts", secure_logging=True)
    channel = Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if channel is None:
        raise InvalidInput(
            f"Apprise cannot send to this {kind}:// address: see its page about the service for "
            "what the URL must have",
            parameter="url",
        )
    return channel


def _load() -> None:
    """Load Apprise with all services, which takes seconds: only who tells somebody pays for it."""
    with _LOADING:
        apprise = logging.getLogger("apprise")
        if _EAR in apprise.handlers:
            return
        apprise.addHandler(_EAR)
        apprise.propagate = False
        apprise.setLevel(logging.WARNING)
        for below in ("urllib3", "requests", "requests_oauthlib", "oauthlib", "markdown"):
            logging.getLogger(below).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():  # about what Apprise itself imports
            warnings.simplefilter("ignore")
            from apprise import Apprise

            Apprise.instantiate("json://localhost")
