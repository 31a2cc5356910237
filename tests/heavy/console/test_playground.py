"""The playground: vectors of texts and pictures, and questions to collections."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from browsing import NEEDS_CHROMIUM, Console, fill_collection

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


def test_playground_embeds_and_compares(signed_in: Console) -> None:
    """Compares texts: vectors with their cosines."""
    page = signed_in.page
    signed_in.open("playground")
    page.get_by_role("button", name="Embed", exact=True).click()
    page.wait_for_selector(".matrix tbody tr >> nth=2")
    assert page.locator(".matrix tbody tr").first.locator("td").first.inner_text() == "1.000"


def test_playground_takes_pictures_where_the_model_does(signed_in: Console, tmp_path: Path) -> None:
    """Compares a picture of this machine with a text, and says what the picture is."""
    page = signed_in.page
    picture = tmp_path / "pixel.png"
    picture.write_bytes(PIXEL)
    signed_in.open("playground")
    assert not page.locator("input[name=files]").is_visible()
    models = page.get_by_label("Model", exact=True)
    seeing = [name for name in models.locator("option").all_inner_texts() if "vl" in name]
    if not seeing:
        pytest.skip("no weights for images are on this machine")
    models.select_option(seeing[0])
    page.locator("input[name=files]").set_input_files(picture)
    page.locator("textarea[name=texts]").fill("a dot")
    page.get_by_role("button", name="Embed", exact=True).click()
    page.get_by_text("png, 1").wait_for()
    assert page.locator(".matrix tbody tr").count() == 2
    assert page.locator("img.thumbnail").get_attribute("alt") == "pixel.png"


def test_question_finds_the_row_that_it_means(signed_in: Console, charted: str) -> None:
    """Asks a collection, and finds the row that is meant."""
    page = signed_in.page
    signed_in.open("overview")
    signed_in.open("playground")
    page.get_by_label("Collection", exact=True).select_option(charted)
    page.locator("input[name=question]").fill("text 2")
    page.get_by_role("button", name="Search", exact=True).click()
    best = page.get_by_role("region", name="Results").locator("tbody tr").first
    best.wait_for()
    assert "text 2" in best.inner_text()


def test_question_goes_to_another_database(signed_in: Console) -> None:
    """Asks a collection of another database, which is found by its name."""
    from pymilvus import MilvusClient

    uri = signed_in.server.milvus_uris["default"]
    client = MilvusClient(uri=uri)
    client.create_database("side")
    client.close()
    fill_collection(uri, "sideways", calls=2, database="side")
    page = signed_in.page
    signed_in.open("overview")
    signed_in.open("playground")
    page.get_by_label("Database", exact=True).select_option("side")
    page.get_by_label("Collection", exact=True).select_option("sideways")
    page.locator("input[name=question]").fill("text 1")
    page.get_by_role("button", name="Search", exact=True).click()
    best = page.get_by_role("region", name="Results").locator("tbody tr").first
    best.wait_for()
    assert "text 1" in best.inner_text()
    page.locator("input[name=contains]").fill("nothing")
    page.locator("input[name=question]").click()
    page.get_by_text("No collection has a field").wait_for()
