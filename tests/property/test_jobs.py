"""Pure rules of jobs, for all inputs: lines, pages, leases, states, and what a batch may hold."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milvane.apis.openai.batches_lines import BatchLines
from milvane.domain.errors import Conflict
from milvane.domain.files import FileId, parse_file_id, shown_name
from milvane.domain.jobs import JobKind, JobOrder, JobState, NumberedLine
from milvane.jobs.leasing import is_free, lease_end, renewal_interval_s
from milvane.jobs.lifecycle import FOLLOWERS, Step, cancelled, end_of, next_step, overdue
from milvane.jobs.paging import Page, PageLimits, Position, split_lines, take_page

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
MAX_LINE_BYTES = 12

contents = st.lists(
    st.sampled_from([b"a", b"bc", b" ", b"\n", b"\r\n", b"\r", b"x" * 11, b"\xef\xbb\xbf"])
).map(b"".join)


def cut(content: bytes, seed: int) -> Iterator[bytes]:
    """Cut a content into pieces anywhere."""
    chance = random.Random(seed)
    while content:
        size = chance.randint(1, 7)
        yield content[:size]
        content = content[size:]


def naive_lines(content: bytes) -> list[tuple[int, bytes, int]]:
    """Cut a whole content into lines at once."""
    lines, offset = [], 0
    for number, line in enumerate(content.split(b"\n")):
        offset = min(offset + len(line) + 1, len(content))
        shown = line.removesuffix(b"\r")
        if number == 0:
            shown = shown.removeprefix(b"\xef\xbb\xbf")
        lines.append((number, shown, offset))
    return lines if not content.endswith(b"\n") and content else lines[:-1]


@given(contents, st.integers(0, 9))
@example(b"x" * MAX_LINE_BYTES + b"\r\n", 0)  # exactly the limit
@example(b"\xef\xbb\xbf" + b"x" * MAX_LINE_BYTES + b"\r\n", 0)  # the same behind a mark
@example(b"\xef\xbb\xbf" + b"x" * (MAX_LINE_BYTES + 1) + b"\r\n", 0)  # one byte too many
@example(b"\xef\xbb\xbf" + b"x" * MAX_LINE_BYTES + b"\ry\n", 0)  # a return that ends no line
@example(b"x" * 100 + b"\ny", 3)  # far too many, in many pieces
def test_lines_are_those_of_the_whole_file(content: bytes, seed: int) -> None:
    """Wherever a file is cut into pieces, its lines are the same, and a long one shows it."""
    found = list(split_lines(cut(content, seed), start=Position(), max_line_bytes=MAX_LINE_BYTES))
    expected = naive_lines(content)
    assert [(line.number, line.end_offset) for line in found] == [
        (number, end) for number, _, end in expected
    ]
    for line, (_, whole, _) in zip(found, expected, strict=True):
        assert line.content == whole[: MAX_LINE_BYTES + 1]


def pages_of(content: bytes, limits: PageLimits) -> Iterator[Page]:
    """Turn the pages of a file, opening it anew for each."""
    position = Position()
    while True:
        lines = split_lines(
            [content[position.offset :]], start=position, max_line_bytes=MAX_LINE_BYTES
        )
        page = take_page(lines, start=position, limits=limits)
        if not page.lines:
            return
        yield page
        position = page.end


@given(contents, st.integers(1, 4), st.integers(1, 20))
@example(b"a\nb\n", 2, 2)  # an exact fit is a fit
def test_pages_hold_every_line_once(content: bytes, max_lines: int, max_bytes: int) -> None:
    """Each line that is not blank comes once, in order, and pages are full and not too full."""
    limits = PageLimits(max_lines, max_bytes)
    pages = list(pages_of(content, limits))
    turned = [line for page in pages for line in page.lines]
    whole = split_lines([content], start=Position(), max_line_bytes=MAX_LINE_BYTES)
    assert turned == [line for line in whole if line.content.strip()]

    def fits(lines: tuple[NumberedLine, ...]) -> bool:
        size = sum(len(line.content) for line in lines)
        return len(lines) <= max_lines and (len(lines) == 1 or size <= max_bytes)

    assert all(fits(page.lines) for page in pages)
    for page, following in pairwise(pages):
        assert not fits((*page.lines, following.lines[0])), "a page could have been longer"


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 20), st.booleans()), max_size=30))
def test_at_most_one_holder_believes_in_its_lease(moves: list[tuple[int, float, bool]]) -> None:
    """Whoever takes or renews a lease by the rule never does so while another's holds."""
    now, until, holder = NOW, None, None
    for owner, pause_s, wants_renewal in moves:
        now += timedelta(seconds=pause_s)
        is_held = until is not None and now < until
        if wants_renewal and holder == owner:
            until = lease_end(now, 10)
        elif is_free(until, now):
            assert not is_held
            until, holder = lease_end(now, 10), owner
        else:
            assert is_held


@given(st.floats(0.5, 1000))
def test_two_renewals_may_fail_before_a_lease_ends(lease_s: float) -> None:
    """A lease is renewed so often that it outlives two failures."""
    assert 3 * renewal_interval_s(lease_s) <= lease_s * (1 + 1e-9)
    assert is_free(lease_end(NOW, lease_s), lease_end(NOW, lease_s))


@given(
    st.lists(st.sampled_from(["work", "cancel", "cancel queued", "expire", "fail"]), max_size=12),
    st.integers(0, 3),
)
def test_every_walk_keeps_the_rules_and_ends(moves: list[str], pages: int) -> None:
    """Whatever happens to a job, it moves along the map, and from anywhere it can still end."""
    state, expires_at = JobState.QUEUED, NOW + timedelta(hours=1)
    now = NOW
    for move in [*moves, *["work"] * 8]:
        before = state
        if move == "expire":
            now = expires_at
        state = overdue(state, expires_at=expires_at, now=now)
        if move.startswith("cancel"):
            state = try_to_cancel(state, only_queued=move == "cancel queued")
        elif move == "fail" and JobState.FAILED in FOLLOWERS[state]:
            state = JobState.FAILED
        elif move == "work":
            state, pages = work_on(state, pages)
        assert is_reachable(before, state)
    assert state.is_final


def try_to_cancel(state: JobState, *, only_queued: bool) -> JobState:
    """Cancel if that is allowed."""
    try:
        return cancelled(state, only_queued=only_queued)
    except Conflict:
        assert state is not JobState.QUEUED
        assert only_queued or state.is_final or state is JobState.EXPIRING
        return state


def work_on(state: JobState, pages: int) -> tuple[JobState, int]:
    """Take the step that a state needs; returns the state after it, and the pages left."""
    step = next_step(state)
    if step is Step.BEGIN:
        return JobState.VALIDATING, pages
    if step is Step.VALIDATE:
        return JobState.RUNNING, pages
    if step is Step.FINISH or (step is Step.EXPIRE and not pages):
        return end_of(state), 0
    if step in (Step.EMBED, Step.EXPIRE):
        return (state, pages - 1) if pages else (JobState.FINALIZING, 0)
    assert state.is_final
    return state, pages


def is_reachable(old: JobState, new: JobState) -> bool:
    """Say whether there is a way of at most two steps: time passes, and then something happens."""
    after_one = FOLLOWERS[old] | {old}
    return any(new in FOLLOWERS[state] | {state} for state in after_one)


@given(st.sampled_from(JobState))
def test_ends_are_ends(state: JobState) -> None:
    """A state is final exactly if nothing follows it and nothing is to be done in it."""
    assert state.is_final == (not FOLLOWERS[state]) == (next_step(state) is Step.REST)


@pytest.mark.parametrize(
    ("state", "later"),
    [
        (JobState.QUEUED, JobState.EXPIRED),
        (JobState.VALIDATING, JobState.EXPIRED),
        (JobState.RUNNING, JobState.EXPIRING),
        (JobState.FINALIZING, JobState.FINALIZING),
        (JobState.CANCELLING, JobState.CANCELLING),
        (JobState.COMPLETED, JobState.COMPLETED),
    ],
)
def test_time_is_up_at_its_last_instant(state: JobState, later: JobState) -> None:
    """Nothing happens to a job before its time is up, and what must happen does so then."""
    instant = timedelta(microseconds=1)
    assert overdue(state, expires_at=NOW, now=NOW - instant) is state
    assert overdue(state, expires_at=NOW, now=NOW) is later


ids = st.sampled_from(["a", "b", "c", "", 7])
models = st.sampled_from(["text-embedding-v4", "text-embedding-v3", "gpt", None])
requests = st.fixed_dictionaries(
    {
        "custom_id": ids,
        "method": st.sampled_from(["POST", "POST", "GET"]),
        "url": st.sampled_from(["/v1/embeddings", "/v1/embeddings", "/v1/other"]),
        "body": st.fixed_dictionaries({"model": models, "input": st.just("x")}),
    }
)


@given(st.lists(requests | st.sampled_from(["no object", {"custom_id": "d"}]), max_size=6))
def test_a_batch_is_good_exactly_if_each_line_is(lines: list[object]) -> None:
    """A file is good exactly if its lines are requests for one model, with different ids."""
    numbered = [
        NumberedLine(number, json.dumps(line).encode(), 0) for number, line in enumerate(lines)
    ]
    order = JobOrder(JobKind.BATCH, FileId("f"), 60, endpoint="/v1/embeddings")
    findings = BatchLines(max_inputs=10).inspect(iter(numbered), order, "in.jsonl")
    good = [line for line in lines if isinstance(line, dict) and "body" in line]
    is_good = (
        bool(lines)
        and len(good) == len(lines)
        and all(line["method"] == "POST" and line["url"] == "/v1/embeddings" for line in good)
        and all(isinstance(line["custom_id"], str) and line["custom_id"] for line in good)
        and len({line["custom_id"] for line in good}) == len(good)
        and len({line["body"]["model"] for line in good}) == 1
        and good[0]["body"]["model"] in ("text-embedding-v4", "text-embedding-v3")
    )
    assert (not findings.problems) == is_good
    assert findings.total == len(lines)
    told = {problem.line for problem in findings.problems if problem.line is not None}
    assert told <= set(range(len(lines)))


@given(st.text() | st.sampled_from(["../../etc/passwd", "a\\b", "/", "..", "a\0b", "x" * 999]))
def test_shown_names_lead_nowhere(name: str) -> None:
    """What a file is called never has a folder in it, and always something to show."""
    shown = shown_name(name)
    assert shown
    assert not set(shown) & {"/", "\\", "\0", "\n"}
    assert len(shown) <= 255
    assert parse_file_id(name) is None


@pytest.mark.parametrize("text", ["file-batch-" + "0" * 32, "file-batch_output-" + "af" * 16])
def test_ids_are_ids(text: str) -> None:
    """An id of the store is taken as one."""
    assert parse_file_id(text) == text
