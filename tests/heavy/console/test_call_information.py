"""The charts of what models were asked."""

from __future__ import annotations

from pathlib import Path

from browsing import NEEDS_CHROMIUM, Console, choose, fill_collection

MAX_DRAW_MS = 3_000
"""For 30,000 points, on a machine that does other things as well."""

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


def test_charts_move_and_filter(signed_in: Console) -> None:
    """Five of them: what clients do is seen, by operation and instance, as a table and as CSV."""
    page, server = signed_in.page, signed_in.server
    fill_collection(server.milvus_uris["elsewhere"], "charted")
    signed_in.open("usage?since=15m")
    page.wait_for_selector(".chart[data-chart=rt] .main-svg")
    assert page.locator(".chart .main-svg").count() >= 5
    before = calls(signed_in)
    fill_collection(server.milvus_uris["default"], "charted")
    page.wait_for_function(
        "before => Number(document.querySelector('.figure-value').textContent) >= before + 6",
        arg=before,
    )
    # Filters offer what was known when the page came: by now the first calls are as well. To the
    # same address the browser would not go again.
    signed_in.open("models")
    signed_in.open("usage?since=15m")
    page.wait_for_selector(".chart[data-chart=rt] .main-svg")
    everything = calls(signed_in)
    choose(signed_in, "Operation", "Search")
    page.wait_for_function(
        "all => Number(document.querySelector('.figure-value').textContent) < all", arg=everything
    )
    assert "operation=search" in page.url
    searches = calls(signed_in)
    choose(signed_in, "Instance", "elsewhere")
    page.wait_for_function(
        "all => Number(document.querySelector('.figure-value').textContent) < all", arg=searches
    )
    signed_in.open("usage?since=15m&group_by=operation")
    legend = page.locator(".chart[data-chart=tokens] .legendtext")
    legend.first.wait_for()
    assert {"Insert", "Search"} <= set(legend.all_text_contents())
    page.get_by_role("button", name="Table").click()
    page.locator("tbody tr", has_text="Insert").first.wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download CSV").click()
    head, *rows = Path(download.value.path()).read_text().splitlines()
    assert head.startswith("group,at,requests")
    assert {row.partition(",")[0] for row in rows} >= {"insert", "search"}


def calls(console: Console) -> int:
    """Read how many calls the page speaks of."""
    return int(console.figure("Calls").replace(",", ""))


def test_chart_of_ten_thousand_points_is_drawn_quickly(signed_in: Console) -> None:
    """Three curves of as many points as the API gives; a gap stays one."""
    signed_in.open("usage")
    drawn = signed_in.page.evaluate(
        """async () => {
          const { draw, loadCharts, isolated } = await import("/console/charts.js");
          await loadCharts();
          const place = document.createElement("div");
          document.querySelector("main").append(place);
          const times = Array.from({ length: 10000 },
            (_, at) => new Date(1.7e12 + at * 1e4).toISOString());
          const value = (_, at) => at % 1000 < 20 ? null : Math.sin(at / 50) + Math.random() / 9;
          const make = (name) => ({ name, times, values: times.map(value) });
          const range = { since: times[0], until: times.at(-1) };
          const began = performance.now();
          await draw(place, ["a", "b", "c"].map(make), range);
          const took = performance.now() - began;
          const pieces = place.querySelector(".scatterlayer .trace").querySelectorAll(".js-line");
          const counted = pieces.length;
          place.remove();
          return { took, pieces: counted, alone: isolated([1, null, 2, null, 3, 4]) };
        }"""
    )
    print(f"30,000 points drawn in {drawn['took']:.0f} ms")
    assert drawn["took"] < MAX_DRAW_MS
    assert drawn["pieces"] == 10
    assert drawn["alone"] == [0, 2]
