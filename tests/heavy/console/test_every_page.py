"""What holds for every page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browsing import NEEDS_CHROMIUM, PAGES, Console

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


@pytest.mark.parametrize("name", PAGES)
def test_page_has_names_for_whatever_can_be_used(signed_in: Console, name: str) -> None:
    """One heading of the first rank, landmarks, and a label for each field, button and link."""
    signed_in.open(name)
    page = signed_in.page
    assert page.locator("h1").count() == 1
    for landmark in ("banner", "navigation", "main"):
        assert page.get_by_role(landmark).count() == 1
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
          .filter((each) => each.offsetParent !== null)
          .filter((each) => !(each.textContent.trim() || each.getAttribute("aria-label")
            || each.labels?.length || each.getAttribute("aria-labelledby")))
          .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_keyboard_alone_reaches_the_content(signed_in: Console) -> None:
    """The first key leads past the navigation; what has the focus is seen to have it."""
    page = signed_in.page
    signed_in.open("overview")
    page.reload()
    page.wait_for_selector("main .page[data-page=overview]:not([aria-busy]) h1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_language_and_colours_are_chosen(signed_in: Console) -> None:
    """Both stay after the page was loaded anew."""
    page = signed_in.page
    signed_in.open("overview")
    page.get_by_role("button", name="中文").click()
    page.wait_for_selector("h1:has-text('概览')")
    page.get_by_role("button", name="切换到深色").click()
    page.reload()
    page.wait_for_selector("h1:has-text('概览')")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    if folder := os.environ.get("MILVANE_SCREENSHOTS"):
        photograph(signed_in, Path(folder), "zh-dark")
    page.get_by_role("button", name="切换到浅色").click()
    page.get_by_role("button", name="English").click()
    page.wait_for_selector(".nav a:has-text('Overview')")
    if folder:
        photograph(signed_in, Path(folder), "en-light")


def photograph(console: Console, folder: Path, looks: str) -> None:
    """Keep a picture of each page."""
    for name in PAGES:
        console.open(name)
        if name == "usage":
            console.page.wait_for_selector(".chart[data-chart=rt] .main-svg")
        console.page.screenshot(path=folder / f"{name}-{looks}.png", full_page=True)


def test_session_ends_with_the_sign_out(signed_in: Console) -> None:
    """Whoever comes afterwards has to sign in."""
    page = signed_in.page
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("input[name=password]")
    page.reload()
    page.wait_for_selector("input[name=password]")
    assert page.locator(".nav a").count() == 0
    page.fill("input[name=password]", signed_in.server.password)
    page.click("form button[type=submit]")
    page.wait_for_selector("h1:has-text('Overview')")
