"""Durations in bins."""

import pytest

from milvane.metering.latency import MAX_BIN, bin_of, quantile_s


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [(0.0, 0), (1e-6, 0), (2e-6, 8), (1e-3, 79), (1.0, 159), (1e9, MAX_BIN)],
)
def test_bin_is_an_eighth_of_a_doubling(duration_s: float, expected: int) -> None:
    """Counted from a microsecond."""
    assert bin_of(duration_s) == expected


def test_quantiles_of_many_calls_are_near_the_true_ones() -> None:
    """Within 5 %, whatever the share."""
    durations = [0.001 * (1 + number) for number in range(1000)]
    counts: dict[int, int] = {}
    for duration in durations:
        counts[bin_of(duration)] = counts.get(bin_of(duration), 0) + 1
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        true = durations[max(0, round(share * 1000) - 1)]
        assert quantile_s(counts, share) == pytest.approx(true, rel=0.05)


def test_nothing_counted_has_no_quantile() -> None:
    """Neither in an empty count nor in one of zeros."""
    assert quantile_s({}, 0.5) is None
    assert quantile_s({7: 0}, 0.5) is None
