"""Models and their weights."""

from __future__ import annotations

from browsing import MODEL, NEEDS_CHROMIUM, Console

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


def test_weights_are_unloaded_and_loaded(signed_in: Console) -> None:
    """Unloads weights and loads them again: calls are refused meanwhile."""
    page = signed_in.page
    signed_in.open("models")
    page.get_by_role("note").get_by_text("all-minilm-l6-v2 stand in").wait_for()
    row = page.get_by_role("region", name="Weights").locator("tbody tr", has_text=MODEL)
    row.get_by_role("button", name="Unload").click()
    page.locator("dialog button[type=submit]").click()
    row.get_by_text("Unloaded").wait_for()
    assert signed_in.server.embed("any") == 503
    row.get_by_role("button", name="Load").click()
    row.get_by_text("Loaded", exact=True).wait_for()
    assert signed_in.server.embed("any") == 200
