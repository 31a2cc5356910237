"""What waits in one lane, by tenant. Pure: no clock, no event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from milvane.inference.batching import interleave, plan_pass

FRONT_INPUTS = 256
"""How many of the first inputs are looked at for one pass."""


class Pending(Protocol):
    """Something that waits."""

    @property
    def tokens(self) -> int:
        """Its length, at least 1."""


Item = TypeVar("Item", bound=Pending)


class LaneQueue(Generic[Item]):
    """
    Inputs of every tenant, and how much was computed for each.

    A tenant that begins to wait is taken for one that was served as much as the least served of the
    others: neither idleness nor having been alone is held for or against anybody.
    """

    def __init__(self) -> None:
        self.tokens = 0
        """Of all that waits."""
        self._inputs = 0
        self._waiting: dict[str, deque[Item]] = {}
        """Never empty for a tenant that is in it."""
        self._own_tokens: dict[str, int] = {}
        self._served: dict[str, float] = {}

    def __len__(self) -> int:
        return self._inputs

    def __iter__(self) -> Iterator[Item]:
        for queue in self._waiting.values():
            yield from queue

    def tenants_with(self, tenant: str) -> int:
        """Count those who wait, and one more if `tenant` does not."""
        return len(self._waiting) + (tenant not in self._waiting)

    def own(self, tenant: str) -> tuple[int, int]:
        """Say how many inputs and tokens of a tenant wait."""
        return len(self._waiting.get(tenant, ())), self._own_tokens.get(tenant, 0)

    def add(self, tenant: str, items: Sequence[Item]) -> None:
        """Let inputs wait behind the tenant's others; at least one."""
        if tenant not in self._waiting:
            least = min((self._served[other] for other in self._waiting), default=0.0)
            self._served[tenant] = max(self._served.get(tenant, 0.0), least)
            self._waiting[tenant] = deque()
        self._waiting[tenant].extend(items)
        self._count(tenant, len(items), sum(item.tokens for item in items))

    def take(self, max_tokens: int, *, packs: bool = False) -> list[Item]:
        """Choose the inputs of the next pass, the first in the fair order among them."""
        names = list(self._waiting)
        fronts = self._fronts(names)
        order = interleave(
            [[item.tokens for item in front] for front in fronts],
            [self._served[name] for name in names],
            FRONT_INPUTS,
        )
        candidates = [fronts[tenant][position] for tenant, position in order]
        chosen = plan_pass([item.tokens for item in candidates], max_tokens, packs=packs)
        leaving: dict[int, set[int]] = {}
        for place in chosen:
            tenant, position = order[place]
            leaving.setdefault(tenant, set()).add(position)
        for tenant, positions in leaving.items():
            self._remove(names[tenant], positions)
        return [candidates[place] for place in chosen]

    def drop(self, is_unwanted: Callable[[Item], bool]) -> None:
        """Forget inputs that nobody waits for any more."""
        for name in list(self._waiting):
            queue = self._waiting[name]
            kept = deque(item for item in queue if not is_unwanted(item))
            tokens = sum(item.tokens for item in kept)
            self._waiting[name] = kept
            self._count(name, len(kept) - len(queue), tokens - self._own_tokens[name])

    def _fronts(self, names: Sequence[str]) -> list[list[Item]]:
        # Of many tenants, the later inputs of each have no chance to stand among the first.
        depth = FRONT_INPUTS if len(names) == 1 else max(32, FRONT_INPUTS // max(1, len(names)))
        return [list(islice(self._waiting[name], depth)) for name in names]

    def _remove(self, name: str, positions: set[int]) -> None:
        queue = self._waiting[name]
        passed = [queue.popleft() for _ in range(max(positions) + 1)]
        queue.extendleft(
            item for i, item in reversed(list(enumerate(passed))) if i not in positions
        )
        tokens = sum(passed[position].tokens for position in positions)
        self._served[name] += tokens
        self._count(name, -len(positions), -tokens)

    def _count(self, name: str, inputs: int, tokens: int) -> None:
        self._inputs += inputs
        self.tokens += tokens
        self._own_tokens[name] = self._own_tokens.get(name, 0) + tokens
        if not self._waiting[name]:
            del self._waiting[name], self._own_tokens[name]
        if not self._waiting:
            self._served.clear()  # nobody shares: from here on, all begin alike
