"""The programs under examples/, run as a person runs them, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from milvane.testing.servers import MilvaneProcess

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def printed(server: MilvaneProcess) -> dict[str, list[str]]:
    """Run all examples at once, each in a process of its own; gives the lines of each."""
    environment = {**os.environ, "MILVANE_URL": server.http_url}
    running = {
        name: subprocess.Popen(
            [sys.executable, EXAMPLES / f"{name}.py"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in PROGRAMS
    }
    lines = {}
    for name, process in running.items():
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        lines[name] = output.splitlines()
    return lines


def test_search_finds_answers_by_meaning_words_and_both(printed: dict[str, list[str]]) -> None:
    """Meaning finds paraphrases, words find part numbers, and both together find either."""
    lines = printed["semantic_search"]
    found = {
        lines[start]: [line.partition(":")[2].strip() for line in lines[start + 1 : start + 4]]
        for start in range(0, len(lines), 4)
    }
    words_that_answer = {
        "What is AI?": "Artificial intelligence",
        "How do I restart my internet box?": "To reset the router",
        "E-4712": "Error E-4712",
        "How much vacation can I keep for later?": "Employees may carry over",
    }
    assert set(found) == set(words_that_answer)
    for question, opening in words_that_answer.items():
        by_meaning, by_words, by_both = found[question]
        assert by_both.startswith(opening)
        best = by_words if question == "E-4712" else by_meaning
        assert best.startswith(opening)


def test_recommendation_puts_the_films_of_the_liked_kind_first(
    printed: dict[str, list[str]],
) -> None:
    """Three films play in space; the others do not."""
    titles = [line.partition("  ")[2] for line in printed["recommendation"]]
    assert len(titles) == 7
    assert set(titles[:3]) == {"Red Dust", "The Last Signal", "Orbit"}


def test_clusters_are_the_subjects_of_the_headlines(printed: dict[str, list[str]]) -> None:
    """Technology, money and sport are told apart without being named."""
    groups: list[set[str]] = []
    for line in printed["clustering"]:
        if line.startswith("Group"):
            groups.append(set())
        else:
            groups[-1].add(line.split()[0])
    assert sorted(map(sorted, groups)) == [
        ["Central", "Inflation", "Investors", "Stock"],
        ["Chip", "Laptop", "Phone", "Search"],
        ["Home", "Swimmer", "Tennis", "World"],
    ]


def test_reviews_are_filed_under_the_right_labels(printed: dict[str, list[str]]) -> None:
    """Nothing was trained, and each review is where a person would put it."""
    labels = [line[:22].strip() for line in printed["zero_shot_classification"]]
    assert labels == [
        "Apparel & Accessories",
        "Digital Products",
        "Food & Beverage",
        "Home & Living",
        "Apparel & Accessories",
    ]


def test_comments_that_do_not_belong_are_found(printed: dict[str, list[str]]) -> None:
    """Keys hit at random and advertisements are anomalies; talk about the work is not."""
    _, *lines = printed["anomaly_detection"]
    anomalies = [line.split("  ", 1)[1] for line in lines if line.startswith("ANOMALY")]
    assert [comment.split()[-1] for comment in anomalies] == ["zxcvbnm", "prize!!!"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_example_is_listed(name: str) -> None:
    """The page beside the programs names each of them."""
    assert f"`{name}.py`" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
