"""How the page looks and is reached: wide and narrow, light and dark, for eyes and for readers."""

import re

import pytest

from tests.gateway.page.conftest import reading

WIDTHS = (360, 768, 1280)


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_scrolls_sideways(browser, server, engine, width):
    with reading(browser, viewport={"width": width, "height": 720}) as reader:
        page = reader.page
        reader.watch(server, engine)
        engine.offer('{"' + "k" * 300 + '":"' + "v" * 3000 + '"}', '{"n":1}')
        reader.wait_for_count("shown", 2)
        assert overflow(page) <= 0
        page.locator("#filters-box").evaluate("box => box.open = true")
        page.get_by_label("Where").fill("x" * 200 + "(")
        page.locator("#error-where:not(:empty)").wait_for()
        assert overflow(page) <= 0
        page.locator(".event-row:not([hidden])").first.click()
        assert page.is_visible("#detail")
        assert overflow(page) <= 0
        page.click("#help")
        assert overflow(page) <= 0


def test_a_phone_shows_events_without_scrolling_there(browser, server, engine):
    options = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    with reading(browser, **options) as reader:
        page = reader.page
        reader.watch(server, engine)
        engine.offer_numbers(0, 40)
        reader.wait_for_count("shown", 40)
        assert page.locator(".event-row:not([hidden])").last.bounding_box()["height"] >= 24
        assert page.locator("#list").bounding_box()["y"] < 500
        page.locator(".event-row:not([hidden])").last.tap()
        close = page.get_by_role("button", name="Close the event")
        close.wait_for()
        filtering = page.get_by_role("button", name="Filter by this value of n")
        assert filtering.evaluate("each => getComputedStyle(each).opacity") == "1"
        close.tap()
        assert not page.is_visible("#detail")


def luminance(color):
    parts = [int(each) / 255 for each in re.findall(r"\d+", color)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_both_schemes(browser, server, engine, scheme):
    with reading(browser, color_scheme=scheme) as reader:
        page = reader.page
        reader.watch(server, engine)
        engine.offer('{"n":1,"s":"text","b":true}')
        reader.wait_for_count("shown", 1)
        page.locator(".event-row:not([hidden])").first.click()
        back = page.evaluate("getComputedStyle(document.querySelector('.detail')).backgroundColor")
        assert (luminance(back) > 0.5) == (scheme == "light")
        for what in (".value.number", ".value.string", ".value.literal", ".tree .key", ".size"):
            found = page.locator(what)
            if found.count():
                color = found.first.evaluate("each => getComputedStyle(each).color")
                assert contrast(color, back) >= 4.5, what
        colors = page.evaluate(
            """() => [...Array(8).keys()].map((lane) => {
              const row = document.querySelector(".event-row");
              row.dataset.lane = lane;
              return getComputedStyle(row.querySelector(".lane")).color;
            })"""
        )
        assert len(set(colors)) == 8
        assert all(contrast(color, back) >= 4.5 for color in colors)
        main = page.evaluate("getComputedStyle(document.body).backgroundColor")
        for what in ("#account dt", ".error", "#kept", ".engine .facts", "legend"):
            color = page.locator(what).first.evaluate("each => getComputedStyle(each).color")
            assert contrast(color, main) >= 4.5, what


def test_parts_of_the_page_have_roles_and_names(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    engine.offer_numbers(0, 30)
    reader.wait_for_count("shown", 30)
    assert page.get_by_role("banner").count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("navigation", name="Engines").count() == 1
    assert page.get_by_role("form", name="Filters").count() == 1
    assert page.get_by_role("heading", level=1).text_content().startswith("tapring")
    assert page.get_by_role("img", name="Events shown per second").count() == 1
    grid = page.get_by_role("grid", name="Events")
    assert grid.get_attribute("aria-rowcount") == "30"
    page.keyboard.press("j")
    row = page.get_by_role("row", selected=True)
    assert row.get_attribute("aria-rowindex") == "30"
    assert grid.get_attribute("aria-activedescendant") == row.get_attribute("id")
    assert row.get_by_role("gridcell").count() >= 3
    for each in page.locator("button:visible, input:visible").all():
        named = each.evaluate(
            "e => e.textContent.trim() || e.ariaLabel || e.labels?.[0]?.textContent"
        )
        assert named, each.evaluate("e => e.outerHTML")


def test_the_account_is_read_aloud_but_not_all_the_time(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    page.evaluate(
        """() => {
          window.__said = [];
          const spoken = document.getElementById("spoken");
          new MutationObserver(() => window.__said.push(spoken.textContent))
            .observe(spoken, { childList: true, characterData: true, subtree: true });
        }"""
    )
    for first in range(0, 100, 10):  # the counts are shown anew each time
        engine.offer_numbers(first, 10)
        reader.wait_for_count("shown", first + 10)
    reader.wait("window.__said.length > 0", True)
    assert re.fullmatch(r"\d+ events shown, 0 dropped\.", page.evaluate("window.__said[0]"))
    assert page.evaluate("window.__said.length") <= 3
    assert page.get_attribute("#spoken", "aria-live") == "polite"


def test_the_whole_page_can_be_reached_with_the_tab_key(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    engine.offer_numbers(0, 3)
    reader.wait_for_count("shown", 3)
    page.get_by_role("checkbox", name="decoded").wait_for()
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    wanted = {"skip", "pause", "download", "help", "filter-where", "filter-redact", "apply", "list"}
    assert wanted <= set(reached)
    assert reached[0] == "skip"
    page.focus("#skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "list"
