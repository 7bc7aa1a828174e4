"""Reading on the page: choose an engine, look at events, hold them still, keep them."""

import json
import subprocess

from tests.gateway.page.conftest import reading
from tests.recorders import numbered

MOST = 10_000


def test_clicks_lead_from_the_list_of_engines_to_the_value_of_a_field(reader, server, engine):
    page = reader.page
    reader.open(server)
    page.get_by_role("button", name=engine.name).click()
    reader.wait_for_state("Live")
    engine.offer('{"level":"info","user":{"id":7}}', '{"level":"error","user":{"id":8}}')
    page.get_by_role("row").get_by_text('"id":8').click()
    tree = page.get_by_role("complementary", name="Event")
    branch = tree.get_by_role("button", name="{ 1 field }")
    assert branch.get_attribute("aria-expanded") == "true"
    assert "user" in branch.text_content()
    assert tree.get_by_text("8", exact=True).is_visible()
    branch.click()
    assert not tree.get_by_text("8", exact=True).is_visible()
    assert tree.get_by_text("error", exact=True).is_visible()
    reader.wait_for_count("offered", 2)
    assert reader.count("shown") == 2
    page.get_by_role("button", name="Close the event").click()
    assert not page.is_visible("#detail")


def test_engines_show_their_rates_and_losses(reader, serve, engine):
    server = serve("--buffer", "8KiB")
    reader.watch(server, engine)
    with server.stalled():
        engine.offer_numbers(0, 4000, batch=400)
    engine.offer_numbers(4000, 1)
    button = reader.page.get_by_role("button", name=engine.name)
    reader.wait(
        "[...document.querySelectorAll('.engine .flow')].some(e => /[/]s/.test(e.textContent))",
        True,
    )
    reader.wait(
        "[...document.querySelectorAll('.engine .loss')].some(e => / lost/.test(e.textContent))",
        True,
    )
    assert button.get_attribute("aria-current") == "true"


def test_a_lane_that_cannot_be_read_is_listed_with_the_reason(reader, server, engine, spawn, name):
    closed = spawn(
        "import sys, tapring; tap = tapring.Tap(sys.argv[1], remote=False);"
        "print(flush=True); sys.stdin.read()",
        f"{name}-not",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    closed.stdout.readline()
    reader.open(server)
    entry = reader.page.get_by_role("button", name=f"{name}-not")
    entry.get_by_text("not to be read from here").wait_for()
    entry.click()
    reader.page.get_by_role("alert").get_by_text("with tapring attach").wait_for()


def test_a_gap_is_a_row_where_it_is(reader, serve, engine):
    server = serve("--buffer", "8KiB")
    reader.watch(server, engine)
    engine.offer_numbers(0, 3)
    reader.wait_for_count("shown", 3)
    with server.stalled():
        engine.offer_numbers(3, 4000, batch=400)
    reader.wait("document.getElementById('count-dropped').title.length > 1", True)
    engine.offer_numbers(4003, 1)  # the next event tells how many are missing before it
    reader.wait("document.getElementById('count-missed').title.length > 1", True)
    reader.wait_for_count("offered", 4004)
    kept = reader.downloaded()
    seen = 0
    for record in kept:
        seen += record["missed"]
        if record["event"] is not None:
            assert record["event"]["n"] == seen  # each gap is exactly as large as it says
            seen += 1
    assert reader.count("shown") + reader.count("missed") == seen == 4004
    first = next(each for each in kept if each["missed"])["missed"]
    gap = reader.page.get_by_role("row").filter(has_text=" missed here")
    above = next(n for n, each in enumerate(kept) if each["missed"])
    reader.page.locator("#list").evaluate("(list, above) => list.scrollTop = above * 24", above)
    gap.first.wait_for()
    assert gap.first.locator(".text").text_content() == f"{first:,} events missed here"
    gap.first.click()
    reader.page.get_by_role("complementary", name="Gap").get_by_text(f"{first:,} events").wait_for()


def test_pause_holds_the_list_and_goes_on_counting(reader, server, engine):
    reader.watch(server, engine)
    engine.offer_numbers(0, 50)
    reader.wait_for_count("shown", 50)
    reader.page.get_by_role("button", name="Pause").click()
    held = reader.shown
    engine.offer_numbers(50, 450)
    reader.wait_for_count("shown", 500)
    reader.wait_for_count("waiting", 450)
    assert reader.page.text_content("#state") == "Paused"
    assert reader.shown == held
    assert [each["event"]["n"] for each in reader.downloaded()] == list(range(50))
    reader.page.get_by_role("button", name="Resume").click()
    reader.wait_for_count("waiting", 0)
    assert reader.shown[-1] == '{"n":499}'


def test_scroll_and_selection_stay_while_events_pour_in(reader, server, engine):
    reader.watch(server, engine)
    engine.offer_numbers(0, 400)
    reader.wait("document.querySelector('.event-row:not([hidden])') !== null", True)
    reader.wait_for_count("shown", 400)
    reader.page.hover("#list")
    reader.page.mouse.wheel(0, -3000)
    reader.wait("document.getElementById('newest').hidden", False)
    place = reader.page.locator(".event-row:not([hidden])").nth(5)
    place.click()
    reader.wait_for_selection()
    chosen, before = reader.selected, reader.shown
    assert chosen in before
    engine.offer_numbers(400, MOST + 2600)
    reader.wait_for_count("shown", MOST + 3000)
    assert reader.shown == before
    assert reader.selected == chosen
    assert reader.page.evaluate("document.querySelectorAll('.event-row').length") < 100
    reader.page.get_by_role("button", name="newer").click()
    engine.offer_numbers(MOST + 3000, 30)
    reader.wait_for_row('{"n":13029}')
    kept = reader.downloaded()
    assert len(kept) == MOST
    passed = [each for each in kept if each["missed"]]
    assert len(passed) == 1
    # What found no room while the list was held is a gap in what is shown, of the right size.
    after = kept[kept.index(passed[0]) + 1]["event"]["n"]
    ahead = kept[kept.index(passed[0]) - 1]["event"]["n"]
    assert after - ahead - 1 == passed[0]["missed"]


def test_the_list_follows_the_newest_again_at_its_end(reader, server, engine):
    reader.watch(server, engine)
    engine.offer_numbers(0, 300)
    reader.wait_for_count("shown", 300)
    reader.page.hover("#list")
    reader.page.mouse.wheel(0, -900)
    reader.wait("document.getElementById('newest').hidden", False)
    reader.page.mouse.wheel(0, 3000)
    reader.wait("document.getElementById('newest').hidden", True)
    engine.offer_numbers(300, 100)
    reader.wait_for_count("shown", 400)
    reader.wait("document.querySelector('.event-row[aria-rowindex=\"400\"]') !== null", True)
    for height in (900, 400, 700):  # a window of another height is no reason to leave it
        reader.page.set_viewport_size({"width": 1200, "height": height})
        reader.page.wait_for_timeout(100)
        assert reader.page.is_hidden("#newest")
    engine.offer_numbers(400, 1)
    reader.wait_for_row('{"n":400}')


def test_only_the_newest_10_000_are_kept_and_the_page_says_so(reader, server, engine):
    reader.watch(server, engine)
    engine.offer_numbers(0, MOST + 500, batch=500)
    reader.wait_for_count("shown", MOST + 500)
    reader.page.get_by_text("Showing the newest 10,000").wait_for()
    kept = [each["event"]["n"] for each in reader.downloaded()]
    assert kept == list(range(500, MOST + 500))


def test_an_event_is_copied_as_it_came(browser, server, engine):
    with reading(browser, permissions=["clipboard-read", "clipboard-write"]) as reader:
        reader.watch(server, engine)
        text = '{"n":12345678901234567890,"n":1.10,"s":"\\u202e\u202e"}'
        engine.offer(text)
        reader.wait_for_count("shown", 1)
        reader.page.locator(".event-row:not([hidden])").click()
        reader.page.get_by_role("button", name="Copy").click()
        reader.page.get_by_role("button", name="Copied").wait_for()
        assert reader.page.evaluate("navigator.clipboard.readText()") == text


def test_what_is_downloaded_can_be_read_again(reader, server, engine, tmp_path, run_cli):
    reader.watch(server, engine)
    engine.offer_numbers(0, 25)
    reader.wait_for_count("shown", 25)
    with reader.page.expect_download() as begun:
        reader.page.get_by_role("button", name="Download").click()
    file = tmp_path / "shown.ndjson"
    begun.value.save_as(file)
    read = run_cli("cat", str(file), "--where", "n<`3`")
    assert [json.loads(line)["event"] for line in read.stdout.splitlines()] == numbered(range(3))


def test_the_last_30_seconds_come_first_if_the_engine_records(
    reader, server, start_engine, name, recordings
):
    engine = start_engine(name, "decoded")
    engine.offer_numbers(0, 40)
    reader.watch(server, engine)
    reader.page.get_by_label("Last 30 s first").check()
    reader.wait_for_count("shown", 40)
    engine.offer_numbers(40, 10)
    reader.wait_for_count("shown", 50)
    assert [each["event"]["n"] for each in reader.downloaded()] == list(range(50))
    assert "last=30s" in reader.page.url


def test_the_last_30_seconds_cannot_be_asked_of_an_engine_that_records_nothing(
    reader, server, engine
):
    reader.watch(server, engine)
    reader.page.get_by_text("decoded json").wait_for()
    assert reader.page.get_by_label("Last 30 s first").is_disabled()


def test_stages_are_chosen_and_named_in_their_rows(reader, server, engine):
    reader.watch(server, engine)
    reader.page.get_by_role("checkbox", name="raw").check()
    reader.wait("location.hash.includes('stage=')", True)
    reader.wait_for_state("Live")
    engine.offer("a line", stage="raw")
    engine.offer('{"n":1}')
    reader.wait_for_count("shown", 2)
    reader.wait("document.getElementById('list').hasAttribute('data-stages')", True)
    assert reader.shown == ["a line", '{"n":1}']
    stages = reader.page.locator(".event-row:not([hidden]) .stage").all_text_contents()
    assert sorted(stages) == ["decoded", "raw"]


def test_processes_of_an_engine_have_colors_and_names(reader, server, start_engine, name):
    one, other = start_engine(name), start_engine(name)
    reader.watch(server, one)
    one.offer('{"from":1}')
    other.offer('{"from":2}')
    reader.wait_for_count("shown", 2)
    rows = reader.page.locator(".event-row:not([hidden])")
    lanes = rows.locator(".lane").all_text_contents()
    assert sorted(lanes) == sorted([one.lane, other.lane])
    colors = rows.evaluate_all("rows => rows.map(row => getComputedStyle(row).borderLeftColor)")
    assert len(set(colors)) == 2
    reader.page.get_by_role("button", name=other.lane).click()
    reader.wait(f"location.hash.includes('{other.lane}')", True)
    reader.wait_for_state("Live")
    one_alone = reader.page.get_by_role("button", name=other.lane)
    assert one_alone.get_attribute("aria-pressed") == "true"


def test_what_is_shown_stands_in_the_url_and_survives_a_reload(reader, server, engine):
    reader.watch(server, engine)
    reader.page.get_by_label("Where").fill("n > `3`")
    reader.page.get_by_label("Where").press("Enter")
    reader.wait("location.hash.includes('where=')", True)
    reader.page.reload()
    reader.wait_for_state("Live")
    assert reader.page.input_value("#filter-where") == "n > `3`"
    engine.offer_numbers(0, 6)
    reader.wait_for_count("shown", 2)
    reader.wait_for_count("filtered", 4)
    reader.page.go_back()
    reader.wait("document.getElementById('filter-where').value", "")


def test_the_token_leaves_the_url_at_once_and_stays_in_the_tab(reader, server, engine):
    reader.watch(server, engine)
    assert "token" not in reader.page.url
    assert server.token not in reader.page.evaluate("JSON.stringify(history.state) + location.href")
    assert reader.page.evaluate("sessionStorage.getItem('tapring.token')") == server.token
    assert reader.page.evaluate("Object.values(localStorage).join()") == ""


def test_keys_do_what_the_help_says(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    engine.offer_numbers(0, 200)
    reader.wait_for_count("shown", 200)
    page.keyboard.press("j")
    reader.wait("document.activeElement.id", "list")
    reader.wait_for_selection()
    assert reader.selected == '{"n":199}'
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("j")
    reader.wait("document.querySelector('[aria-selected=true] .text').textContent", '{"n":198}')
    active = page.get_attribute("#list", "aria-activedescendant")
    assert page.text_content(f"#{active} .text") == '{"n":198}'
    page.keyboard.press("Enter")
    assert page.is_visible("#detail")
    page.keyboard.press("k")
    page.locator("#tree").get_by_text("197").wait_for()
    page.keyboard.press("Enter")
    assert not page.is_visible("#detail")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert not page.is_visible("#detail")
    page.keyboard.press(" ")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    page.keyboard.press(" ")
    assert page.get_attribute("#pause", "aria-pressed") == "false"
    page.keyboard.press("Home")
    reader.wait("document.querySelector('[aria-selected=true] .text').textContent", '{"n":0}')
    page.keyboard.press("End")
    reader.wait("document.getElementById('newest').hidden", True)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter-where"
    page.keyboard.type("j k")
    assert page.input_value("#filter-where") == "j k"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "BODY"


def test_the_help_is_a_dialog_that_keeps_and_returns_the_focus(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    page.focus("#list")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    assert page.evaluate("document.getElementById('help-dialog').contains(document.activeElement)")
    page.keyboard.press("j")  # keys do nothing behind it
    page.keyboard.press("Escape")
    assert not page.is_visible("#help-dialog")
    assert page.evaluate("document.activeElement.id") == "list"
    assert reader.selected is None
    page.keyboard.press("?")
    page.get_by_label("Use single keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press(" ")
    assert page.get_attribute("#pause", "aria-pressed") == "false"
