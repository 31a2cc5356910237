"""From the first login to two instances that use a service."""

from __future__ import annotations

from browsing import MODEL, NEEDS_CHROMIUM, Console, fill_collection

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


def test_first_login_opens_the_overview(signed_in: Console) -> None:
    """With the password of the first start; another one is refused."""
    assert signed_in.figure("Health") == "Ready"
    assert signed_in.page.locator(".steps li").count() == 4
    assert signed_in.page.locator("tbody tr", has_text="elsewhere").count() == 1


def test_service_is_disabled_and_enabled(signed_in: Console) -> None:
    """A call that names it is refused meanwhile."""
    signed_in.open("services")
    row = signed_in.row(MODEL)
    row.get_by_role("button", name="Disable").click()
    signed_in.page.locator("dialog button[type=submit]").click()
    row.get_by_text("Disabled").wait_for()
    assert signed_in.server.embed("any") == 403
    signed_in.page.get_by_role("button", name="Enable Embedding").click()
    row.get_by_text("Enabled", exact=True).wait_for()
    assert signed_in.server.embed("any") == 200


def test_instances_are_bound_in_a_batch(signed_in: Console) -> None:
    """Both at once, in the dialog of a Service ID; raw texts go into both from then on."""
    page = signed_in.page
    signed_in.open("services")
    for tick, expected in ((False, 0), (True, 2)):
        signed_in.row(MODEL).get_by_role("button", name="Batch Enable").click()
        boxes = page.locator("dialog .options input[type=checkbox]")
        assert boxes.count() == 2
        for place in range(2):
            boxes.nth(place).set_checked(tick)
        page.locator("dialog button[type=submit]").click()
        page.locator("dialog").wait_for(state="detached")
        badges = signed_in.row(MODEL).locator(".badge.accent")
        assert badges.count() == expected
    for uri in signed_in.server.milvus_uris.values():
        fill_collection(uri, "bound", calls=1)
    signed_in.open("instances")
    page.wait_for_selector("h3:has-text('bound')")
    assert page.locator("tbody tr", has_text="TextEmbedding").first.inner_text().count(MODEL) == 1


def test_dialog_is_closed_with_its_page(signed_in: Console) -> None:
    """What is open of a page that is left does not stand over the next one."""
    page = signed_in.page
    signed_in.open("services")
    signed_in.row(MODEL).get_by_role("button", name="Batch Enable").click()
    page.wait_for_selector("dialog[open]")
    page.go_back()
    page.locator("dialog").wait_for(state="detached")
