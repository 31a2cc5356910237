"""Cutting texts into batches, and running batches a few at a time with their order kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def split(items: Sequence[Item], max_batch: int) -> list[Sequence[Item]]:
    """Cut a sequence into as few pieces as possible, in order, none above the cap or empty."""
    return [items[start : start + max_batch] for start in range(0, len(items), max_batch)]


async def run_in_order(
    jobs: Sequence[Callable[[], Awaitable[Result]]], *, max_concurrent: int
) -> list[Result]:
    """
    Run jobs a few at a time.

    The first failure, or being cancelled, ends the jobs under way and starts no other.

    Returns:
        The results in the order of the jobs, whatever the order in which they ended.
    """
    results: dict[int, Result] = {}
    pending = iter(enumerate(jobs))

    async def work() -> None:
        for position, job in pending:
            results[position] = await job()

    workers = [asyncio.ensure_future(work()) for _ in range(min(max_concurrent, len(jobs)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [results[position] for position in range(len(jobs))]
