"""Instances and their collections."""

from __future__ import annotations

from browsing import NEEDS_CHROMIUM, Console, fill_collection

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


def test_instance_is_added_and_removed(signed_in: Console, remote_uri: str) -> None:
    """Adds an instance that clients reach at once, and removes it."""
    page = signed_in.page
    signed_in.open("instances")
    page.get_by_role("button", name="Add instance").click()
    page.locator("dialog input[name=name]").fill("third")
    page.locator("dialog input[name=uri]").fill(remote_uri)
    page.locator("dialog input[name=token]").fill("root:s3cret")
    page.locator("dialog button[type=submit]").click()
    page.locator("dialog").wait_for(state="detached")
    row = page.get_by_role("region", name="Instances").locator("tbody tr", has_text="third")
    row.get_by_text("Served").wait_for()
    port = row.locator("td.number").inner_text()
    fill_collection(f"http://127.0.0.1:{port}", "by_the_third", calls=1)
    assert "s3cret" not in page.content()
    row.get_by_role("button", name="Remove").click()
    page.locator("dialog button[type=submit]").click()
    row.wait_for(state="detached")


def test_collections_are_narrowed_by_name(signed_in: Console, charted: str) -> None:
    """Narrows the collections that are shown by their names."""
    page = signed_in.page
    signed_in.open("overview")
    signed_in.open("instances")
    heading = page.get_by_role("heading", name=charted, exact=True)
    heading.wait_for()
    page.locator("input[name=contains]").fill("nothing like it")
    page.locator("input[name=contains]").press("Enter")
    heading.wait_for(state="detached")
