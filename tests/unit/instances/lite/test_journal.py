from __future__ import annotations

from pathlib import Path

from milvane.instances.lite.journal import Action, CollectionKey, Journal

ARTICLES = CollectionKey("default", "articles")
PICTURES = CollectionKey("media", "pictures")


def test_journal_remembers_releases_and_intents(tmp_path: Path) -> None:
    """What was written is there for the next process."""
    journal = Journal(tmp_path)
    journal.remember_released([ARTICLES])
    intent = journal.begin(Action.RENAME, PICTURES, name="photos")
    again = Journal(tmp_path)
    assert again.released == {ARTICLES}
    assert again.intents == (intent,)


def test_finished_intent_is_forgotten(tmp_path: Path) -> None:
    """Only what was not finished is left for recovery."""
    journal = Journal(tmp_path)
    first = journal.begin(Action.DROP, ARTICLES)
    second = journal.begin(Action.DROP, PICTURES)
    journal.finish(first)
    assert Journal(tmp_path).intents == (second,)


def test_new_directory_has_an_empty_journal(tmp_path: Path) -> None:
    """Looking writes nothing."""
    journal = Journal(tmp_path)
    assert journal.released == frozenset()
    assert journal.intents == ()
    assert list(tmp_path.iterdir()) == []


def test_key_names_the_database_unless_it_is_the_default() -> None:
    """Messages name a collection as its user does."""
    assert str(ARTICLES) == "articles"
    assert str(PICTURES) == "media.pictures"
