"""A network on servers elsewhere, as a runtime; its requests have a thread of their own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray

from milvane.domain.catalogue import Weights
from milvane.domain.errors import Conflict, DeadlineExceeded, UpstreamUnavailable
from milvane.inference.batching import round_up
from milvane.inference.encoders.spelling import Speller
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.remote.asking import Asker, AskingCounts
from milvane.inference.remote.counting import ReplicaView
from milvane.inference.remote.dialects import Inputs
from milvane.inference.remote.sending import Sender
from milvane.inference.remote.settings import RemoteSettings
from milvane.inference.remote.watching import Watch
from milvane.inference.runtimes.port import Patience
from milvane.inference.self_test import SELF_TEST_TEXTS

CONNECT_TIMEOUT_S = 2.0

_T = TypeVar("_T")


class RemoteRuntime:
    """A `Runtime`, and a patient one; a pass becomes requests to replicas of one server."""

    def __init__(
        self,
        settings: RemoteSettings,
        weights: Weights,
        encoder: TextEncoder,
        patience: Patience | None = None,
    ) -> None:
        """
        Connect, and wait for a replica that answers as it should. Blocks.

        Args:
            settings: Which servers, and how they are asked.

            weights: What they are said to run.

            encoder: Made the ids of passes.

            patience: Ends if nobody waits for the start any more.

        Raises:
            Conflict: If a server answers, but is not what the settings say.

            UpstreamUnavailable: If none answers in time.
        """
        replicas = len(settings.urls)
        self.name = f"{settings.dialect} at {', '.join(settings.urls)}"
        self.precision = settings.precision
        self.threads = 1
        self.width = weights.width
        self.max_tokens = round_up(weights.window_tokens)
        self.weighs_tokens = False
        self.concurrency = settings.max_concurrent * replicas
        self.packs = True  # no padding is sent
        self._settings = settings
        self._speller = None if settings.sends_token_ids else Speller(encoder)
        contents = [ids[: encoder.content_tokens] for ids in encoder.tokenize(SELF_TEST_TEXTS)]
        self._probes = self._inputs([encoder.frame(content) for content in contents])
        self._certificates = _read_certificates(settings)
        self._is_over = asyncio.Event()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(patience or Patience())),
            name="milvane-remote",
            daemon=True,
        )
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self.close()
            raise

    @property
    def counts(self) -> AskingCounts:
        """What was sent since the start."""
        return self._asker.counts

    @property
    def replicas(self) -> list[ReplicaView]:
        """How the replicas stand, in the order of the settings."""
        return self._watch.view()

    def trouble(self) -> str | None:
        """Say why no pass can be run now; none if one can."""
        return self._watch.trouble()

    def forward(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """
        Have a replica run the network over one padded batch; see the port.

        Raises:
            UpstreamRejected: If an input is refused.

            UpstreamUnavailable: If the servers fail over this batch.

            Unanswered: If no server can be reached.

            Overloaded: If the servers are busy for too long.
        """
        return self.forward_within(token_ids, lengths, Patience())

    def forward_within(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32], patience: Patience
    ) -> NDArray[np.float32]:
        """
        Have a replica run the network as long as somebody waits for it; see `forward`.

        Raises:
            DeadlineExceeded: If nobody waits any more; what was sent is given up.
        """
        rows = [ids[:length] for ids, length in zip(token_ids, lengths.tolist(), strict=True)]
        step = self._settings.max_request_inputs
        requests = [
            (self._inputs(rows[at : at + step]), int(lengths[at : at + step].sum()))
            for at in range(0, len(rows), step)
        ]
        asking = self._run(self._ask_all(requests, patience.left_s()))
        patience.when_over(asking.cancel)
        try:
            return asking.result()
        except CancelledError:
            raise DeadlineExceeded("nobody waits for this pass any more") from None

    def close(self) -> None:
        """Close the connections; no pass may be running, and none may follow."""
        if self._thread.is_alive():
            self._tell(self._is_over.set)
            self._thread.join()

    def _tell(self, what: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the thread has just ended by itself
            self._loop.call_soon_threadsafe(what)

    def _inputs(self, rows: list[NDArray[np.int32]]) -> Inputs:
        if self._speller is None:
            return [row.tolist() for row in rows]
        return [self._speller.spell(row) for row in rows]

    async def _ask_all(
        self, requests: list[tuple[Inputs, int]], time_left_s: float | None
    ) -> NDArray[np.float32]:
        asking = [
            asyncio.ensure_future(self._asker.ask(*request, time_left_s)) for request in requests
        ]
        try:
            return np.concatenate(await asyncio.gather(*asking))
        finally:
            for each in asking:
                each.cancel()

    def _run(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _live(self, patience: Patience) -> None:
        settings, self._loop = self._settings, asyncio.get_running_loop()
        async with httpx2.AsyncClient(
            verify=self._certificates or False,  # no address is https without them
            trust_env=False,
            timeout=httpx2.Timeout(
                None, connect=CONNECT_TIMEOUT_S
            ),  # each request is timed as a whole
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        ) as client:
            sender = Sender(settings, self.width, client)
            self._watch = Watch(settings, sender, self._probes)
            self._asker = Asker(settings, sender, self._watch)
            starting = asyncio.ensure_future(self._watch.start())
            patience.when_over(lambda: self._tell(starting.cancel))
            try:
                await starting
            except asyncio.CancelledError:
                self._started.set_exception(UpstreamUnavailable("the start was given up"))
                return
            except BaseException as error:  # noqa: BLE001 - raised where the thread was started
                self._started.set_exception(error)
                return
            self._started.set_result(None)
            watching = asyncio.create_task(self._watch.run())
            await self._is_over.wait()
            watching.cancel()


def _read_certificates(settings: RemoteSettings) -> ssl.SSLContext | None:
    if not any(url.startswith("https:") for url in settings.urls):
        return None
    if settings.ca_file is None:
        return httpx2.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Conflict(f"the certificates {settings.ca_file} cannot be read: {error}") from error
