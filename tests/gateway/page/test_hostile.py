"""What events bring is text on the page: no script runs, and nothing is hidden or changed."""

import json

import pytest

# A page that took any of these for markup, a script or a URL would set window.__xss.
SCRIPTS = [
    "<script>window.__xss=1</script>",
    "</script><script>window.__xss=1</script>",
    "</title><script>window.__xss=1</script>",
    "</textarea><script>window.__xss=1</script>",
    "</style><script>window.__xss=1</script>",
    "<img src=x onerror=window.__xss=1>",
    "<img src=x onerror='alert(1)'>",
    "<svg onload=window.__xss=1>",
    "<svg><script>window.__xss=1</script></svg>",
    "<svg><animate onbegin=window.__xss=1 attributeName=x>",
    "<math><mtext><script>window.__xss=1</script>",
    "<body onload=window.__xss=1>",
    "<iframe src='javascript:parent.__xss=1'>",
    "<iframe srcdoc='<script>parent.__xss=1</script>'>",
    "<a href='javascript:window.__xss=1'>x</a>",
    "javascript:window.__xss=1",
    "data:text/html,<script>opener.__xss=1</script>",
    "<input autofocus onfocus=window.__xss=1>",
    "<details open ontoggle=window.__xss=1>",
    "<video><source onerror=window.__xss=1>",
    "<object data='javascript:window.__xss=1'>",
    "<embed src='javascript:window.__xss=1'>",
    "<base href='https://example.org/'>",
    "<meta http-equiv=refresh content='0;url=javascript:window.__xss=1'>",
    "<link rel=stylesheet href='data:text/css,*{display:none}'>",
    "<style>*{display:none}</style>",
    "<form action='javascript:window.__xss=1'><button>x</button></form>",
    "<template><script>window.__xss=1</script></template>",
    "<!--<script>window.__xss=1</script>-->",
    "<![CDATA[<script>window.__xss=1</script>]]>",
    "${window.__xss=1}",
    "`${window.__xss=1}`",
    "{{constructor.constructor('window.__xss=1')()}}",
    "'-(window.__xss=1)-'",
    '"-(window.__xss=1)-"',
    '";window.__xss=1;//',
    "&lt;script&gt;window.__xss=1&lt;/script&gt;",
    "&#60;script&#62;window.__xss=1",
    "\uff1cscript\uff1ewindow.__xss=1\uff1c/script\uff1e",
    "<\u017fcript>window.__xss=1</\u017fcript>",
    "data: x",
    "event: summary",
    "%3Cscript%3Ewindow.__xss=1%3C/script%3E",
]


@pytest.fixture
def open_event(reader, server, engine):
    """Offer one event, and open it in the page."""
    reader.watch(server, engine)

    def show(text):
        shown = reader.count("shown")
        engine.offer(text)
        reader.wait_for_count("shown", shown + 1)
        reader.page.keyboard.press("End")
        reader.page.wait_for_timeout(50)
        reader.page.locator(".event-row:not([hidden])").last.click()
        return reader.page.locator("#tree")

    return show


def test_scripts_in_keys_and_values_are_text(reader, server, engine, open_event):
    reader.page.add_init_script("window.__xss = undefined")
    violations = (
        "window.__violations = [];"
        "addEventListener('securitypolicyviolation', e => window.__violations.push(e.blockedURI))"
    )
    reader.page.evaluate(violations)
    tree = open_event(json.dumps({each: each for each in SCRIPTS}))
    while tree.get_by_role("button", name="Show").count():
        tree.get_by_role("button", name="Show").first.click()
    closed = tree.locator("[aria-expanded=false]")
    while closed.count():
        closed.first.click()
    assert tree.locator(".key").all_text_contents() == SCRIPTS
    assert tree.locator(".value").all_text_contents() == SCRIPTS
    for each in SCRIPTS:
        engine.offer(json.dumps(each))
        engine.offer(json.dumps({"x": each}))
    reader.wait_for_count("shown", 1 + 2 * len(SCRIPTS))
    reader.page.keyboard.press("End")
    reader.wait_for_row(json.dumps({"x": SCRIPTS[-1]}))
    reader.page.get_by_label("Where").fill("<img src=x onerror=window.__xss=1>")
    reader.page.locator("#error-where").get_by_text("onerror").wait_for()
    assert reader.page.evaluate("window.__xss === undefined && window.__violations.length === 0")


def test_scripts_in_lines_and_in_the_url_are_text(reader, server, engine):
    hostile = "stage=raw&fields=%3Cimg%20src%3Dx%20onerror%3Dwindow.__xss%3D1%3E"
    reader.open(server, f"engine=%3Cimg%20src=x%20onerror=window.__xss=1%3E&{hostile}")
    reader.page.get_by_role("alert").get_by_text("<img src=x onerror=").first.wait_for()
    reader.watch(server, engine, "stage=raw")
    engine.offer(*SCRIPTS, stage="raw")
    reader.wait_for_count("shown", len(SCRIPTS))
    reader.page.focus("#list")
    reader.page.keyboard.press("Home")
    reader.page.keyboard.press("Enter")
    for each in SCRIPTS:
        assert reader.page.locator("#tree .value").text_content() == each
        reader.page.keyboard.press("j")
    assert reader.page.evaluate("window.__xss") is None


def test_what_cannot_be_seen_is_shown_as_an_escape(reader, server, open_event):
    hidden = "a\x00b\x1bc\u202ed\u200be\u2066f\ufeffg\u2028h\x9bi\U000e0041j\u00adk\n\tl"
    tree = open_event(json.dumps({"key\u202e": hidden}, ensure_ascii=False))
    assert tree.locator(".key").text_content() == "key\\u202e"
    shown = (
        "a\\u0000b\\u001bc\\u202ed\\u200be\\u2066f\\ufeffg\\u2028h\\u009bi"
        "\\u{e0041}j\\u00adk\\n\\tl"
    )
    assert tree.locator(".value").text_content() == shown
    # In the row as well, where JSON itself escapes some of them.
    (row,) = reader.shown
    assert "\u202e" not in row
    assert "key\\u202e" in row
    assert "c\\u202ed\\u200be" in row


def test_numbers_are_shown_as_they_were_written(open_event):
    texts = ["12345678901234567890123", "-0.0", "1.10", "1e400", "0.1000000000000000055"]
    tree = open_event(f'{{"n":[{",".join(texts)}]}}')
    assert tree.locator(".value.number").all_text_contents() == texts


def test_keys_that_mean_something_to_javascript_are_keys(open_event):
    keys = ["__proto__", "constructor", "toString", "__proto__", "length", ""]
    tree = open_event("{" + ",".join(f'"{key}":{n}' for n, key in enumerate(keys)) + "}")
    assert tree.locator(".key").all_text_contents() == keys
    assert tree.locator(".value").all_text_contents() == [*"012345"]


def test_a_long_value_is_cut_until_one_asks_for_all_of_it(reader, server, open_event):
    long = "x" * 99_998 + "<b"
    tree = open_event(json.dumps({"long": long}))
    assert len(tree.locator(".value").text_content()) == 600
    tree.get_by_role("button", name="Show all 100,000 characters").click()
    assert tree.locator(".value").text_content() == long
    assert len(reader.shown[-1]) <= 400


def test_deep_nesting_and_many_fields_stay_usable(reader, server, engine, open_event):
    deep = open_event('{"deep":' + "[" * 500 + "1" + "]" * 500 + "}")
    for _ in range(10):
        deep.locator("[aria-expanded=false]").first.click()
    many = open_event(json.dumps({f"k{n}": n for n in range(5000)}))
    assert many.locator(".key").count() == 100
    many.get_by_role("button", name="Show 100 more of 4,900").click()
    assert many.locator(".key").count() == 200


def test_json_is_parsed_at_any_depth_or_refused(reader, server):
    reader.open(server)
    outcomes = reader.page.evaluate(
        """async (texts) => {
          const { parse } = await import("/page/json.js");
          return texts.map((text) => {
            try { return parse(text).text === text.trim(); } catch (error) { return error.name; }
          });
        }""",
        [
            "[" * 200_000 + "]" * 200_000,
            ' {"a" : [ 1 , "\\\\\\"" , { } , [ ] , null ] } ',
            '"\\""',
            *['{"a":1', '{"a" 1}', "[1,]", "{,}", "", "tru", "1 2", '"', '"\\', "{a:1}", '"\n"'],
        ],
    )
    assert outcomes == [True] * 3 + ["SyntaxError"] * 11


def test_text_that_is_no_json_is_shown_as_it_is(reader, server, engine):
    """An engine may offer a msgspec.Raw that is none."""
    reader.watch(server, engine)
    engine.offer("<script>window.__xss=1</script>")
    reader.wait_for_count("shown", 1)
    reader.page.locator(".event-row:not([hidden])").click()
    assert "<script>window.__xss=1</script>" in reader.page.locator("#tree").text_content()
