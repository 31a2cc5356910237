"""Keys and quotas."""

from __future__ import annotations

from browsing import NEEDS_CHROMIUM, Console

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


def test_key_is_made_used_and_limited(signed_in: Console) -> None:
    """Its secret is shown once; its tenant's quota stops it; its name is a text, never markup."""
    page, server = signed_in.page, signed_in.server
    label = "<img src=x onerror=alert(1)><b>bold</b>"
    signed_in.open("keys")
    page.get_by_role("button", name="Create key").click()
    page.locator("dialog input[name=label]").fill(label)
    page.locator("dialog input[name=tenant]").fill("north")
    page.locator("dialog button[type=submit]").click()
    secret = page.locator("#secret").inner_text()
    assert server.embed(secret) == 200
    page.locator("dialog[open]").get_by_role("button", name="Close").last.click()
    page.locator("dialog").wait_for(state="detached")
    row = signed_in.row(label)
    row.get_by_text("Good").wait_for()
    assert page.locator("main b, main img").count() == 0
    assert secret not in page.content()

    page.get_by_role("button", name="Set a quota").click()
    page.locator("dialog select").last.select_option("north")
    page.locator("dialog input[name=requests_per_minute]").fill("1")
    page.locator("dialog button[type=submit]").click()
    page.get_by_text("Enforced").wait_for()
    statuses = {server.embed(secret) for _ in range(3)}
    assert 429 in statuses
