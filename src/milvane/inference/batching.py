"""
Which pending inputs form the next forward pass. Pure: queue, clock and device are in `batcher`.

What is decided: who may still queue (`is_admitted`) and whose work is hopeless (`cannot_finish`),
which lane's turn it is (`choose_lane`), in which order the tenants' inputs stand (`interleave`),
how large the pass may be (`pass_budget`), and which of the first inputs go together (`plan_pass`).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from milvane.domain.models import Lane

MAX_OVERTAKES = 4
"""Interactive passes that may run in a row while bulk work waits."""

MIN_SHARE_TOKENS = 64
"""Work is not split over slots below this: the fixed cost of a pass would be felt."""

_FULL_COST_LENGTH = 1024
"""
Length of a row at which looking at a token costs as much as all else that is done with it: three
times the width of a small network. Attention grows with the length, the rest does not.
"""

_PASS_COST_TOKENS = 16
"""Fixed cost of a pass, in tokens; it keeps a tight pass from being preferred to a full one."""


def round_up(tokens: int) -> int:
    """
    Round a length up to one of a few, so that a runtime meets few shapes.

    Steps of 4 up to 64, of 8 up to 128, of 16 above: 3 to 4 % of padding, 32 lengths up to 256.
    """
    step = 4 if tokens <= 64 else 8 if tokens <= 128 else 16
    return max(1, -(-tokens // step)) * step


def computed_tokens(lengths: Sequence[int], *, packs: bool) -> int:
    """
    Say how many tokens a pass takes through the layers, padding included.

    Args:
        lengths: Tokens of each input, at least one.

        packs: Whether padding is left out; a few tokens fill the sum up.
    """
    return round_up(sum(lengths)) if packs else len(lengths) * round_up(max(lengths))


def pass_cost(tokens: int, inputs: int, longest: int, *, packs: bool) -> float:
    """
    Say what a pass costs, in real tokens.

    Args:
        tokens: Of all its inputs.

        inputs: How many there are.

        longest: Tokens of the longest.

        packs: Whether padding is computed in the attention alone.
    """
    padded = inputs * round_up(longest)
    if not packs:
        return padded
    return tokens + min(1.0, round_up(longest) / _FULL_COST_LENGTH) * (padded - tokens)


def choose_lane(*, interactive_waits: bool, bulk_waits: bool, overtakes: int) -> Lane | None:
    """
    Say which lane the next pass serves.

    Args:
        interactive_waits: Whether anything is pending in the interactive lane.

        bulk_waits: Whether anything is pending in the bulk lane.

        overtakes: Interactive passes in a row that were started while bulk work waited.

    Returns:
        The lane, or nothing if nothing is pending. Interactive work goes first, but after
        `MAX_OVERTAKES` passes it lets one bulk pass through.
    """
    if bulk_waits and (not interactive_waits or overtakes >= MAX_OVERTAKES):
        return Lane.BULK
    return Lane.INTERACTIVE if interactive_waits else None


def interleave(
    lengths: Sequence[Sequence[int]], served: Sequence[float], limit: int
) -> list[tuple[int, int]]:
    """
    Put the inputs of several tenants in a fair order: the one served least so far comes first.

    Args:
        lengths: For each tenant, the tokens of its pending inputs, oldest first.

        served: For each tenant, the tokens computed for it while it had to share.

        limit: Inputs that are wanted.

    Returns:
        Pairs of a tenant's position and an input's position in its queue, at most `limit`. The
        inputs of a tenant keep their order; at each place stands the input of a tenant for which
        least was computed, counting what stands before it.
    """
    turns = [(served[i], i, 0) for i, own in enumerate(lengths) if own]
    heapq.heapify(turns)
    order: list[tuple[int, int]] = []
    while turns and len(order) < limit:
        tokens, tenant, position = turns[0]
        order.append((tenant, position))
        own = lengths[tenant]
        if position + 1 < len(own):
            heapq.heapreplace(turns, (tokens + own[position], tenant, position + 1))
        else:
            heapq.heappop(turns)
    return order


def is_admitted(waiting: int, own: int, tenants: int, limit: int) -> bool:
    """
    Say whether a tenant may queue more work in a lane.

    Args:
        waiting: What waits in the lane, in tokens or inputs.

        own: The tenant's part of it.

        tenants: How many have something waiting there, this one included.

        limit: From which on the lane is full.

    Returns:
        Whether the lane has room, or the tenant less than its share of a full one: nobody is
        refused for what another one sent. So at most twice the limit waits, beside requests that
        exceed it alone.
    """
    return waiting < limit or own * tenants < limit


def cannot_finish(tokens: int, time_left_s: float, fastest_tokens_per_s: float) -> bool:
    """
    Say whether work is certain to miss its deadline, however short the queue gets.

    Args:
        tokens: Of the request.

        time_left_s: Until the caller's deadline.

        fastest_tokens_per_s: The best rate that was ever measured; 0 before the first pass.
    """
    if time_left_s <= 0:
        return True
    # Twice the best: a machine that was busy with something else may be that much faster.
    return tokens > 2 * fastest_tokens_per_s * time_left_s > 0


def pass_budget(
    pending_tokens: int, running_tokens: int, *, slots: int, max_pass_tokens: int
) -> int:
    """
    Say how much the next pass may hold: as much as each, if all work goes in full rounds.

    In a round, every slot runs one pass. If a pass took all that waits, or all that it can hold,
    the other slots would soon have nothing to do: a client that asks for one text at a time comes
    back only when its pass is over, and a large insert when its last pass is.

    Args:
        pending_tokens: Waiting tokens of the lane.

        running_tokens: Tokens of the passes under way.

        slots: Passes that may run at once, idle or not.

        max_pass_tokens: The most that any pass may hold.
    """
    work = pending_tokens + running_tokens
    rounds = -(-work // (slots * max_pass_tokens))
    share = -(-work // (slots * rounds))
    return min(max_pass_tokens, max(MIN_SHARE_TOKENS, share))


def plan_pass(lengths: Sequence[int], max_pass_tokens: int, *, packs: bool) -> list[int]:
    """
    Choose the inputs that run together: the oldest, and those nearest to it in length.

    The oldest is always among them, so every input is at some time the oldest and runs. Of the
    runs of neighbours in length that fit, the one with the most real tokens per cost is taken.

    Args:
        lengths: Tokens of each pending input, oldest first, each at least 1; the caller bounds
            how many, for the time this takes grows with them.

        max_pass_tokens: Limit of what the pass costs, see `pass_cost`.

        packs: Whether padding is computed in the attention alone.

    Returns:
        Positions in ``lengths``, each once, the oldest's (0) among them; none if nothing is
        pending. An input too long for any pass is taken alone.
    """
    if not lengths:
        return []
    # Of equals, the older ones stand nearer to the oldest, on both sides of it.
    order = sorted(
        range(len(lengths)),
        key=lambda i: (lengths[i], i if lengths[i] >= lengths[0] else -i),
    )
    oldest = order.index(0)
    best = (0.0, oldest, oldest)
    from_oldest = 0
    for last in range(oldest, len(order)):
        longest = lengths[order[last]]
        from_oldest += longest
        tokens, first = from_oldest, oldest
        cost = pass_cost(tokens, last - first + 1, longest, packs=packs)
        if cost > max_pass_tokens:
            break
        worth = tokens / (cost + _PASS_COST_TOKENS)
        while first > 0:
            more = tokens + lengths[order[first - 1]]
            cost = pass_cost(more, last - first + 2, longest, packs=packs)
            # What follows is shorter still: if this makes it worse, so does that.
            if cost > max_pass_tokens or more / (cost + _PASS_COST_TOKENS) < worth:
                break
            tokens, first, worth = more, first - 1, more / (cost + _PASS_COST_TOKENS)
        best = max(best, (worth, first, last))
    _, first, last = best
    return order[first : last + 1]


def retry_after_s(pending_tokens: int, max_pending_tokens: int, tokens_per_s: float) -> float:
    """
    Say when a refused caller should come back: once half of the queue has drained.

    Args:
        pending_tokens: Waiting tokens of the lane.

        max_pending_tokens: The limit that was met.

        tokens_per_s: How fast the queue drains; 0 if nothing has been measured yet.

    Returns:
        Seconds, from 1 to 60.
    """
    excess = pending_tokens - max_pending_tokens / 2
    return min(60.0, max(1.0, excess / tokens_per_s)) if tokens_per_s > 0 else 1.0
