"""
Which reads are so brief that a worker thread would take longer to hear of them than to make them.

A read is known by its shape: all of its request but the vectors. Only one that was just seen to be
brief is made on the event loop, where everybody waits for its end. Pure: the clock is elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milvane.instances.lite.journal import CollectionKey

_BRIEF_S = 0.002
_SHAPES_KEPT = 1_024
_WEIGHT = 0.25
_WITH_SHAPE = frozenset({"Search", "Query"})


def shape_of(rpc: str, key: CollectionKey, request: Any) -> Hashable:
    """
    Say what a read has in common with others that take as long.

    Args:
        rpc: Its name.

        key: The collection that it reads.

        request: Its message.

    Returns:
        Nothing if that is more than a few words.
    """
    if rpc not in _WITH_SHAPE or request.expr_template_values:
        return None
    if rpc == "Search":
        parameters = tuple((pair.key, pair.value) for pair in request.search_params)
        words = (request.dsl, tuple(request.output_fields), tuple(request.partition_names))
        return (rpc, key, request.nq, parameters, words)
    parameters = tuple((pair.key, pair.value) for pair in request.query_params)
    words = (request.expr, tuple(request.output_fields), tuple(request.partition_names))
    return (rpc, key, parameters, words)


class Durations:
    """How long reads of each shape have taken of late."""

    def __init__(self) -> None:
        self._known_s: OrderedDict[Hashable, float] = OrderedDict()

    def are_brief(self, shape: Hashable) -> bool:
        """Say whether reads of a shape were seen to be brief; of an unknown one they were not."""
        return self._known_s.get(shape, _BRIEF_S) < _BRIEF_S

    def note(self, shape: Hashable, duration_s: float) -> None:
        """
        Hear how long a read took.

        Args:
            shape: Its shape; nothing is kept of reads without one.

            duration_s: By the clock on the wall.
        """
        if shape is None:
            return
        before_s = self._known_s.get(shape, duration_s)
        self._known_s[shape] = before_s + _WEIGHT * (duration_s - before_s)
        self._known_s.move_to_end(shape)
        if len(self._known_s) > _SHAPES_KEPT:
            self._known_s.popitem(last=False)
