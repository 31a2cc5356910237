"""Merges come to rest, lose nothing, and leave little to be compared row by row."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.instances.lite.merging import Build, Limits, Merge, Piece, plan_step

MANY_STEPS = 500
LIMITS = Limits(index_min_rows=2_000, max_rows=100_000)


def take(pieces: list[Piece], step: Merge | Build, limits: Limits) -> tuple[list[Piece], int]:
    """Do a step; say how many rows were added to a graph."""
    by_name = {each.name: each for each in pieces}
    if isinstance(step, Build):
        built = by_name[step.name]
        assert not built.is_settled
        changed = Piece(built.name, built.rows, is_settled=True)
        return [changed if each is built else each for each in pieces], built.rows
    names = [*([] if step.base is None else [step.base]), *step.others]
    assert len(set(names)) == len(names) >= 2
    merged = [by_name[name] for name in names]
    rows = sum(each.rows for each in merged)
    assert rows <= limits.max_rows
    assert step.base is None or by_name[step.base].is_settled
    is_settled = step.base is not None or rows >= limits.index_min_rows
    added = rows - (0 if step.base is None else by_name[step.base].rows) if is_settled else 0
    position = min(pieces.index(each) for each in merged)
    rest = [each for each in pieces if each not in merged]
    rest.insert(position, Piece(f"({'+'.join(names)})", rows, is_settled))
    return rest, added


def settle(pieces: list[Piece], limits: Limits) -> tuple[list[Piece], int]:
    """Do all steps that are due; return what is left, and the rows added to graphs."""
    added = 0
    for _ in range(MANY_STEPS):
        step = plan_step(pieces, limits)
        if step is None:
            return pieces, added
        pieces, more = take(pieces, step, limits)
        added += more
    raise AssertionError(f"no rest: {pieces}")


@given(
    st.lists(st.tuples(st.integers(1, 120_000), st.booleans()), max_size=20),
    st.integers(1, 20_000),
    st.integers(1, 100_000),
)
@example([(1_500, False), (1_500, False)], 2_000, 2_000)
@example([(1, False), (16_384, False)], 2_000, 65_536)
@example([(90_000, False), (10, True)], 2_000, 65_536)
@example([(500, False), (500, False), (500, False), (500, False)], 2_000, 600)
def test_merges_come_to_rest_and_lose_nothing(
    given_pieces: list[tuple[int, bool]], index_min_rows: int, max_rows: int
) -> None:
    """Whatever the segments are, some steps later all rows but a few have a graph."""
    limits = Limits(index_min_rows, max_rows)
    pieces = [Piece(str(n), rows, settled) for n, (rows, settled) in enumerate(given_pieces)]

    rest, _ = settle(pieces, limits)

    assert sum(each.rows for each in rest) == sum(each.rows for each in pieces)
    assert sum(each.rows for each in rest if not each.is_settled) < index_min_rows


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=150))
@example([1_000] * 150)
@example([20] * 150)
def test_rows_that_trickle_in_cost_few_additions_and_leave_few_segments(
    flushes: list[int],
) -> None:
    """Each row joins a graph a few times only, and segments grow in number as their logarithm."""
    pieces: list[Piece] = []
    added = 0
    for number, rows in enumerate(flushes):
        pieces, more = settle([*pieces, Piece(f"flush {number}", rows, is_settled=False)], LIMITS)
        added += more

    assert added <= 4 * sum(flushes)
    assert len(pieces) <= 3 + sum(flushes) // 50_000 + 8


@given(st.integers(5, 150))
@example(100)
def test_loaded_rows_join_a_graph_in_bounded_steps(count: int) -> None:
    """After a bulk load, what waited first is searchable first, and hardly a row is added twice."""
    pieces = [Piece(f"flush {n}", 1_000, is_settled=False) for n in range(count)]
    added = 0
    while (step := plan_step(pieces, LIMITS)) is not None:
        pieces, more = take(pieces, step, LIMITS)
        assert more <= max(17_384, max(each.rows for each in pieces) // 3)
        added += more

    assert added <= 1.5 * 1_000 * count
