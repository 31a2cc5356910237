"""Quotas, decided."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from milvane.control_plane.keeper import QuotaKeeper
from milvane.control_plane.quotas import Standing, begin_of_month, seconds_to_next_month
from milvane.domain.control import Quota, QuotaKind, QuotaSubject
from milvane.domain.errors import QuotaExceeded
from offices import FakeClock

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc)
KEY = QuotaSubject(QuotaKind.KEY, "key-1")
TENANT = QuotaSubject(QuotaKind.TENANT, "north")


def after(seconds: float) -> datetime:
    """Tell an instant."""
    return NOON + timedelta(seconds=seconds)


def test_minute_holds_so_many_requests_and_fills_steadily() -> None:
    """Six at once, then one every ten seconds."""
    standing = Standing.begin(Quota(KEY, requests_per_minute=6), NOON)
    for _ in range(6):
        assert standing.check(1, NOON) is None
        standing.take(1)
    refusal = standing.check(1, NOON)
    assert refusal is not None
    assert (refusal.limit, refusal.allowed) == ("requests_per_minute", 6)
    assert refusal.retry_after_s == pytest.approx(10)
    assert standing.check(1, after(9.9)) is not None
    assert standing.check(1, after(10.1)) is None


def test_request_beyond_a_minutes_tokens_waits_for_a_full_bucket() -> None:
    """It gets through, and those after it wait for what it took."""
    standing = Standing.begin(Quota(KEY, tokens_per_minute=100), NOON)
    assert standing.check(250, NOON) is None
    standing.take(250)
    refusal = standing.check(10, NOON)
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(96)
    assert standing.check(10, after(96.1)) is None


def test_what_was_not_used_is_given_back() -> None:
    """To the minute and to the month."""
    standing = Standing.begin(Quota(KEY, tokens_per_minute=100, tokens_per_month=100), NOON)
    standing.take(80)
    assert standing.check(30, NOON) is not None
    standing.settle(80, 0)
    assert standing.check(100, NOON) is None
    assert (standing.month_tokens, standing.running) == (0, 0)


def test_month_ends_in_utc() -> None:
    """What is left of the old one does not count in the new one."""
    standing = Standing.begin(Quota(KEY, tokens_per_month=100), NOON)
    standing.take(90)
    standing.settle(90, 90)
    refusal = standing.check(20, NOON)
    assert refusal is not None
    assert refusal.retry_after_s == 12 * 3600
    assert standing.check(20, after(12 * 3600)) is None
    assert begin_of_month(after(12 * 3600)) == after(12 * 3600)
    assert seconds_to_next_month(datetime(2026, 12, 31, 23, tzinfo=timezone.utc)) == 3600


def test_concurrent_requests_are_counted_while_they_run() -> None:
    """The third waits until one of two has ended."""
    standing = Standing.begin(Quota(KEY, concurrent_requests=2), NOON)
    standing.take(1)
    standing.take(1)
    refusal = standing.check(1, NOON)
    assert refusal is not None
    assert refusal.limit == "concurrent_requests"
    standing.settle(1, 1)
    assert standing.check(1, NOON) is None


def test_month_is_what_the_ledger_says_and_what_it_cannot_know_yet() -> None:
    """Nothing is counted twice, nothing forgotten."""
    standing = Standing.begin(Quota(KEY, tokens_per_month=1000), NOON)
    standing.take(100)
    standing.settle(100, 100)
    settled_before = standing.settled_tokens
    standing.take(30)
    standing.settle(30, 30)  # after the ledger was asked
    standing.take(7)  # and still running
    standing.catch_up(500, settled_before, (2026, 1))
    assert standing.month_tokens == 537
    standing.catch_up(900, 0, (2025, 12))
    assert standing.month_tokens == 537, "another month's sum is not this month's"


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


def test_request_is_reserved_with_all_or_none(clock: FakeClock) -> None:
    """The tenant's tokens are not taken if the key's are spent."""
    keeper = QuotaKeeper(clock)
    keeper.set_quotas([Quota(TENANT, tokens_per_month=100), Quota(KEY, tokens_per_month=10)])
    with pytest.raises(QuotaExceeded, match="tokens_per_month of key key-1 is 10") as caught:
        keeper.reserve([TENANT, KEY], 11)
    assert caught.value.retry_after_s > 1
    assert keeper.standings[TENANT].month_tokens == 0
    keeper.reserve([TENANT, KEY], 10).settle(10)
    assert keeper.standings[TENANT].month_tokens == 10


def test_reservation_is_settled_once(clock: FakeClock) -> None:
    """However often it is said."""
    keeper = QuotaKeeper(clock)
    keeper.set_quotas([Quota(KEY, tokens_per_month=10)])
    reservation = keeper.reserve([KEY], 10)
    reservation.settle(4)
    reservation.settle(4)
    assert keeper.standings[KEY].month_tokens == 4


def test_shadow_only_counts(clock: FakeClock) -> None:
    """To try a limit on real traffic."""
    keeper = QuotaKeeper(clock)
    keeper.set_quotas([Quota(KEY, requests_per_minute=1, is_shadow=True)])
    for _ in range(3):
        keeper.reserve([KEY], 1)
    assert keeper.standings[KEY].would_refuse == 2


def test_other_limits_go_on_with_the_months_use(clock: FakeClock) -> None:
    """Raising a limit forgives nothing; an unchanged one is not touched."""
    keeper = QuotaKeeper(clock)
    keeper.set_quotas([Quota(KEY, tokens_per_month=10), Quota(TENANT, requests_per_minute=1)])
    keeper.reserve([KEY, TENANT], 10).settle(10)
    tenants = keeper.standings[TENANT]
    keeper.set_quotas([Quota(KEY, tokens_per_month=15), Quota(TENANT, requests_per_minute=1)])
    assert keeper.standings[KEY].month_tokens == 10
    assert keeper.standings[TENANT] is tenants
    keeper.set_quotas([])
    keeper.reserve([KEY, TENANT], 10**9).settle(0)


def test_month_is_told_as_a_share_of_what_is_allowed(clock: FakeClock) -> None:
    """Of each quota of a month's tokens; a new month begins with nothing, before anybody calls."""
    keeper = QuotaKeeper(clock)
    keeper.set_quotas([Quota(KEY, tokens_per_month=10), Quota(TENANT, requests_per_minute=1)])
    keeper.reserve([KEY, TENANT], 5).settle(4)
    assert keeper.month_shares() == {"key:key-1": 0.4}
    clock.advance(32 * 86_400)
    assert keeper.month_shares() == {"key:key-1": 0.0}
