"""Filters on the page: what is wrong is said while one types; a value of an event becomes one."""

import json

from tapring.events.where import Where

WRONG = [
    ("Where", "level==", "Incomplete expression"),
    ("Where", "levle(x)", "no function levle()"),
    ("Grep", "(", "missing )"),
    ("Fields", "a..b", "empty name"),
    ("Sample: one in", "x", "whole number"),
    ("Rate", "fast", "Try 100/s"),
    ("Redact", "a..b", "empty name"),
    ("Redact regex", "[", "missing ]"),
]


def test_inputs_say_what_is_wrong_while_one_types(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    for label, text, told in WRONG:
        field = page.get_by_label(label, exact=True)
        field.press_sequentially(text)
        error = page.locator(f"#{field.get_attribute('aria-describedby')}")
        error.get_by_text(told).wait_for()
        assert field.get_attribute("aria-invalid") == "true"
        field.fill("")
        error.wait_for(state="hidden")
        assert field.get_attribute("aria-invalid") is None


def test_a_filter_that_is_wrong_is_not_asked_for(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    page.get_by_label("Where").fill("level==")
    page.get_by_text("Incomplete expression").wait_for()
    page.get_by_role("button", name="Apply").click()
    assert "where" not in page.url
    assert page.text_content("#state") == "Live"


def test_each_filter_does_what_it_says(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    fills = {
        "Where": "n > `1`",
        "Grep": "user",
        "Fields": "n,user",
        "Redact": "user.email",
        "Redact regex": "s3cret",
        "Rate": "1000/s",
        "Sample: one in": "1",
    }
    for label, text in fills.items():
        page.get_by_label(label, exact=True).fill(text)
    page.get_by_label("Redact in any case").check()
    page.get_by_role("button", name="Apply").click()
    reader.wait("location.hash.includes('redact_ignore_case=1')", True)
    reader.wait_for_state("Live")
    engine.offer(
        '{"n":1,"user":{}}',
        '{"n":2,"other":3}',
        '{"n":3,"user":{"Email":"a@b.c","id":"my s3cret"},"other":3}',
    )
    reader.wait_for_count("shown", 1)
    reader.wait_for_count("filtered", 2)
    (record,) = reader.downloaded()
    assert record["event"].keys() == {"n", "user"}
    assert "a@b.c" not in str(record)
    assert "s3cret" not in str(record)
    page.get_by_role("button", name="Clear").click()
    reader.wait("location.hash.includes('where')", False)


def test_filter_by_this_value_adds_it_to_the_expression(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    page.get_by_label("Where").fill("a == `1` || b == `1`")
    page.get_by_label("Where").press("Enter")
    reader.wait_for_state("Live")
    event = {"a": 1, "user": {"the name": 'o\'neil `x` "y" \\', "tags": ["p", "q\u202e\n"]}}
    engine.offer(json.dumps(event))
    reader.wait_for_count("shown", 1)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_role("button", name='Filter by this value of user."the name"').click()
    reader.wait_for_state("Live")
    wanted = page.input_value("#filter-where")
    assert wanted.startswith('(a == `1` || b == `1`) && user."the name" == `')
    engine.offer(json.dumps(event), json.dumps(event | {"user": {"the name": "x"}}))
    reader.wait_for_count("shown", 1)
    reader.wait_for_count("filtered", 1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Filter by this value of user.tags[1]").click()
    reader.wait_for_state("Live")
    engine.offer(json.dumps(event | {"n": 1}), json.dumps({"a": 1}))
    reader.wait_for_count("shown", 1)
    reader.wait_for_count("filtered", 1)


def test_filter_by_null_leaves_out_events_without_that_key(reader, server, engine):
    reader.watch(server, engine)
    events = [{"v": None, "n": 1}, {"n": 2}, {"v": 3}]
    engine.offer(*map(json.dumps, events))
    reader.wait_for_count("shown", 3)
    reader.show_newest()
    reader.page.get_by_role("button", name="Filter by this value of v").click()
    reader.wait_for_state("Live")
    engine.offer(*map(json.dumps, events))
    reader.wait_for_count("shown", 1)
    reader.wait_for_count("filtered", 2)


def test_spaces_of_every_kind_are_seen_and_can_be_filtered_by(reader, server, engine):
    reader.watch(server, engine)
    value = "a\u00a0b\u3000c\u2003d \U0001fae8"
    engine.offer(json.dumps({"v": value}))
    reader.wait_for_count("shown", 1)
    assert "a\\u00a0b\\u3000c\\u2003d " in reader.shown[0]
    reader.show_newest()
    reader.page.get_by_role("button", name="Filter by this value of v").click()
    reader.wait_for_state("Live")
    engine.offer(json.dumps({"v": value}), json.dumps({"v": value.replace("\u00a0", " ")}))
    reader.wait_for_count("shown", 1)
    reader.wait_for_count("filtered", 1)


def test_a_redacted_value_cannot_be_filtered_by(reader, server, engine):
    reader.watch(server, engine, "redact=secret")
    engine.offer(json.dumps({"secret": "x", "n": 1}))
    reader.wait_for_count("shown", 1)
    reader.show_newest()
    reader.page.get_by_role("button", name="Filter by this value of n").wait_for()
    assert reader.page.get_by_role("button", name="Filter by this value of secret").count() == 0


def test_a_value_that_makes_too_long_a_condition_cannot_be_filtered_by(reader, server, engine):
    reader.watch(server, engine)
    engine.offer(json.dumps({"long": "\u00e9\n" * 200, "short": "\u00e9\n" * 20, "n": 1}))
    reader.wait_for_count("shown", 1)
    reader.show_newest()
    reader.page.get_by_role("button", name="Filter by this value of short").wait_for()
    assert reader.page.get_by_role("button", name="Filter by this value of long").count() == 0


def test_a_filter_that_was_just_corrected_is_applied(reader, server, engine):
    page = reader.page
    reader.watch(server, engine)
    page.get_by_label("Where").fill("level==")
    page.get_by_text("Incomplete expression").wait_for()
    page.get_by_label("Where").fill("level")
    page.get_by_label("Where").press("Enter")
    reader.wait("location.hash.includes('where=level')", True)
    reader.wait_for_state("Live")


def test_filter_by_a_line_of_text_is_a_grep_that_matches_it_alone(reader, server, engine):
    reader.watch(server, engine, "stage=raw")
    lines = ["a.c (1) [x] ^$ \\d | & ~ #", "abc (1) [x] ^$ \\d | & ~ #", "x a.c (1) [x]"]
    engine.offer(*lines, stage="raw")
    reader.wait_for_count("shown", 3)
    reader.page.get_by_text(lines[0]).click()
    reader.page.get_by_role("button", name="Filter by this value of line").click()
    reader.wait("location.hash.includes('grep=')", True)
    reader.wait_for_state("Live")
    engine.offer(*lines, stage="raw")
    reader.wait_for_count("shown", 1)
    reader.wait_for_count("filtered", 2)
    assert reader.shown == [lines[0]]


VALUES = [
    "plain",
    "",
    "it's",
    "back\\slash",
    "`tick`",
    '"quote"',
    "\n\t\r\x00\x1f\x7f",
    "\u2028\u2029\u202e",
    "ä€😀",
    "' || `true` || '",
    "\\' || `true`",
    "${x}",
    12345678901234567890123,
    -0.1,
    1e300,
    True,
    False,
    None,
]
KEYS = [
    "a",
    "a b",
    "a.b",
    "0",
    "",
    "'",
    '"',
    "\\",
    "`",
    "ä",
    "__proto__",
    "constructor",
    "a[0]",
    "@",
]


def test_a_value_becomes_an_expression_that_finds_it_alone(reader, server):
    reader.open(server)
    events = [{"first": {key: [0, value]}} for key in KEYS for value in VALUES]
    expressions = reader.page.evaluate(
        """async (texts) => {
          const { parse } = await import("/page/json.js");
          const { equals } = await import("/page/where.js");
          return texts.map((text) => {
            const first = parse(text).entries[0];
            const [key, list] = first[1].entries[0];
            return equals([first[0], key, 1], list.entries[1][1]);
          });
        }""",
        [json.dumps(event) for event in events],
    )
    assert len(set(expressions)) == len(events)
    for event, expression in zip(events, expressions, strict=True):
        assert expression.isprintable()  # the server takes no other
        where = Where(expression)
        ((key, (_, value)),) = event["first"].items()
        for other in VALUES:
            is_same = type(other) is type(value) and other == value
            assert where.holds({"first": {key: [0, other]}}) is is_same


def test_filter_by_a_line_with_invisible_characters_matches_it_alone(reader, server, engine):
    reader.watch(server, engine, "stage=raw")
    lines = ["a\u202eb\ufeff\U000e0041\x07", "ab"]
    engine.offer(*lines, stage="raw")
    reader.wait_for_count("shown", 2)
    reader.show_newest()
    reader.page.get_by_role("button", name="Filter by this value of line").click()
    reader.wait("location.hash.includes('grep=')", True)
    reader.wait_for_state("Live")
    engine.offer(*lines, stage="raw")
    reader.wait_for_count("shown", 1)
    reader.wait_for_count("filtered", 1)
