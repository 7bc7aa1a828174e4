"""The sieve for lines and JSON: unchanged events keep their bytes, and bad JSON leaks nothing."""

import json
import re

import msgspec
import pytest

from tapring.events.kinds import Json, Lines
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.events.sieve import make_sieve
from tapring.events.steps import KeptAway, Sifted

TOKEN = rb"tapring:redacted:[0-9a-f]{16}"


def test_a_frame_that_passes_whole_is_the_same_payload() -> None:
    payload = b'{"n": 1}\n{"n":2}\n'
    assert make_sieve(Json(), Select(grep="n")).sift(payload, 2, 0) == Sifted(payload, 2)


def test_an_event_that_passes_keeps_its_bytes_and_its_place() -> None:
    sieve = make_sieve(Json(), Select(where="n > `1`"))
    sifted = sieve.sift(b'{"n":1}\n{"n": 2}\n{"n":0}\n{"n":  3}\n', 4, 0)
    assert (sifted.payload, sifted.count, sifted.places) == (b'{"n": 2}\n{"n":  3}\n', 2, [1, 3])
    assert sieve.away == KeptAway(where=2)


def test_of_frames_that_the_text_rules_out_some_are_looked_into_for_the_names_of_fields() -> None:
    sieve = make_sieve(Json(), select := Select(where="usr.name=='root' && lvl"))
    for i in range(20):
        event = {"user": {"name": "bin", f"at{i}": 1}, "lvl": "root" * (i == 17)}
        assert sieve.sift(msgspec.json.encode(event) + b"\n", 1, 0).count == 0
    at = [int(key.removeprefix("user.at")) for key in sieve.seen_keys if "at" in key]
    assert at == [0, 1, 3, 7, 15, 17]  # fewer and fewer; one was decoded anyway
    assert select.where.unmet == ("usr.name",)
    assert not select.where.unsure


def test_fields_are_not_looked_for_in_what_is_redacted() -> None:
    sieve = make_sieve(Json(), Select(where="a=='b'"), Redactor("users.*"))
    assert sieve.sift(b'{"users":{"alice":1}}\n', 1, 0).count == 0
    assert not sieve.seen_keys


def test_a_frame_that_the_text_rules_out_is_not_decoded(monkeypatch) -> None:
    monkeypatch.setattr("tapring.events.text_sieve.decode_apart", lambda *_: pytest.fail("decoded"))
    sieve = make_sieve(Json(), Select(where="user=='root'"))
    assert sieve.sift(b'{"user":"bin"}\n', 1, 0).count == 0
    assert sieve.away == KeptAway(where=1)
    sieve = make_sieve(Lines(), Select(grep="root"))
    assert sieve.sift(b"bin\nsys\n", 2, 0).count == 0
    assert sieve.away == KeptAway(grep=2)


@pytest.mark.parametrize("bad", [b"no json\n", b"7\n", b"\n", b"\xff\n"])
def test_a_line_without_fields_is_withheld_if_paths_are_redacted(bad) -> None:
    sieve = make_sieve(Lines(), redact=Redactor("a"))
    sifted = sieve.sift(b'{"a":1}\n' + bad + b'{"a":2,"b":3}\n', 3, 0)
    assert re.fullmatch(rb'{"a":"%b"}\n{"a":"%b","b":3}\n' % (TOKEN, TOKEN), sifted.payload)
    assert (sifted.places, sieve.away) == ([0, 2], KeptAway(redaction=1))


@pytest.mark.parametrize(
    "bad",
    [
        b'{"a":"raw","x":NaN}',
        b'{"a":"raw","x":1e999}',
        b'{"a":"raw","x":"\\ud83d"}',
        b'{"a":"raw","cut":',
        b'2024-01-01T00:00:00Z {"a":"raw"}',
        b'\xef\xbb\xbf{"a":"raw"}',
        b'{"a":"raw"} {"a":"raw"}',
        b'"{\\"a\\":\\"raw\\"}"',
        b"a=raw",
    ],
)
@pytest.mark.parametrize("regex", [None, "ada", "\\d+"])
def test_a_line_in_which_a_path_cannot_be_found_is_withheld_though_a_regex_is_given(
    bad, regex
) -> None:
    sieve = make_sieve(Lines(), redact=Redactor("a", regex=regex))
    sifted = sieve.sift(bad + b'\n{"b":true}\n' + bad + b"\n", 3, 0)
    assert (sifted.payload, sifted.places) == (b'{"b":true}\n', [1])
    assert sieve.away == KeptAway(redaction=2)


def test_a_line_without_fields_passes_as_text_if_that_is_asked_for() -> None:
    sieve = make_sieve(Lines(), redact=Redactor("a", regex=r"\d+", pass_text=True))
    sifted = sieve.sift(b'{"a":1}\nport 22\n7\n', 3, 0)
    assert re.fullmatch(rb'{"a":"%b"}\nport %b\n%b\n' % (TOKEN, TOKEN, TOKEN), sifted.payload)
    assert sieve.away == KeptAway()


def test_first_lines_that_are_no_json_are_withheld_and_the_next_ones_come() -> None:
    sieve = make_sieve(Lines(), redact=Redactor("a"))
    assert sieve.sift(b"Starting\nup\n", 2, 0).count == 0
    assert sieve.sift(b'{"b":1}\nplain\n', 2, 0).payload == b'{"b":1}\n'
    assert sieve.away == KeptAway(redaction=3)


@pytest.mark.parametrize(
    ("regex", "line"),
    [
        ("café", rb'{"m":"to caf\u00e9"}'),
        ("ada@x", rb'{"m":"to ada\u0040x"}'),
        ("a/b", rb'{"m":"to a\/b"}'),
        (r"C:\\Users", rb'{"m":"to C:\\Users"}'),
        ("one\ttwo", rb'{"m":"to one\ttwo"}'),
        ('say "x"', rb'["to say \"x\""]'),
        ("käse", rb'{"k\u00e4se":1}'),
        ("😀", rb'"to \ud83d\ude00"'),
    ],
)
@pytest.mark.parametrize("kind", [Lines(), Json()], ids=["lines", "json"])
def test_a_regex_sees_what_a_person_reads_in_a_string(kind, regex, line) -> None:
    sieve = make_sieve(kind, redact=Redactor(regex=regex))
    (redacted,) = sieve.sift(line + b"\n", 1, 0).payload.splitlines()
    assert re.search(TOKEN, redacted)
    assert not re.search(regex, str(json.loads(redacted)))


@pytest.mark.parametrize(
    "line",
    [
        rb'{"v":NaN,"m":"caf\u00e9"}',
        rb'{"v":"\ud800","m":"caf\u00e9"}',
        b'{"v":"\xff","m":"caf\\u00e9"}',
        b'\xef\xbb\xbf{"m":"caf\\u00e9"}',
        rb'12:00 say "{"m":"caf\u00e9"}',
    ],
)
def test_a_line_that_is_almost_json_is_withheld_if_escapes_hide_a_match(line) -> None:
    sieve = make_sieve(Lines(), redact=Redactor(regex="caf\u00e9"))
    assert sieve.sift(line + b"\n", 1, 0).count == 0
    assert sieve.away == KeptAway(redaction=1)
    other = make_sieve(Lines(), redact=Redactor(regex="tea"))
    assert other.sift(line + b"\n", 1, 0).payload == line + b"\n"


def test_a_key_that_comes_twice_hides_no_match_from_a_regex() -> None:
    sieve = make_sieve(Lines(), redact=Redactor(regex="ada"))
    assert sieve.sift(b'{"a":"\\u0061da","a":"x"}\n', 1, 0).payload == b'{"a":"x"}\n'


@pytest.mark.parametrize("kind", [Lines(), Json()], ids=["lines", "json"])
def test_the_names_that_are_remembered_are_those_that_redaction_leaves(kind) -> None:
    sieve = make_sieve(kind, Select(where="ok"), Redactor("by_name", regex=r"\d+"))
    sieve.sift(b'{"ok":true,"by_name":{"ada":1},"id 4711":2}\n', 1, 0)
    seen = " ".join(sieve.seen_keys)
    assert "by_name" in seen
    assert "ada" not in seen
    assert "4711" not in re.sub(TOKEN.decode(), "", seen)


def test_a_regex_on_lines_also_sees_the_text_around_strings() -> None:
    sieve = make_sieve(Lines(), redact=Redactor(regex=r'"key": "[^"]*"'))
    line = b'{"key": "x", "m": "caf\\u00e9"}\n'
    assert sieve.sift(line, 1, 0).count == 0
    assert sieve.away == KeptAway(redaction=1)  # it is no JSON any more: who knows what it says?
    line = b'{"key": "x", "m": "cafe"}\n'
    assert re.fullmatch(rb'{%b, "m": "cafe"}\n' % TOKEN, sieve.sift(line, 1, 0).payload)


def test_a_line_whose_strings_are_clean_keeps_its_bytes() -> None:
    sieve = make_sieve(Lines(), redact=Redactor(regex="ada"))
    line = b'{"m" : "caf\\u00e9 \\ud83d\\ude00"}\nC:\\Users {\n'
    assert sieve.sift(line, 2, 0).payload == line


def test_without_redaction_a_bad_line_counts_as_not_decoded() -> None:
    sieve = make_sieve(Json(), Select(fields="a"))
    assert sieve.sift(b'{"a":1,"b":2}\nx\n', 2, 0).payload == b'{"a":1}\n'
    assert sieve.away == KeptAway(decoding=1)


def test_every_nth_line_passes_and_the_others_are_counted() -> None:
    sieve = make_sieve(Lines(), Select(sample=2))
    assert sieve.sift(b"a\nb\nc\n", 3, 0) == Sifted(b"a\nc\n", 2, [0, 2])
    assert sieve.away == KeptAway(sample=1)


def test_lines_that_grep_ruled_out_do_not_say_that_no_line_is_json() -> None:
    sieve = make_sieve(Lines(), Select(grep=r"\}$"), Redactor("a"))
    assert sieve.sift(b"plain\ntext\n", 2, 0).count == 0
    assert sieve.sift(b'{"a":1}\n', 1, 0).count == 1
    assert sieve.away == KeptAway(grep=2)


def test_grep_alone_passes_an_event_that_is_not_json_as_it_is() -> None:
    sieve = make_sieve(Json(), Select(grep="x"))
    assert sieve.sift(b"x {\n", 1, 0) == Sifted(b"x {\n", 1)
    assert sieve.away == KeptAway()


def test_a_stage_of_json_may_begin_with_events_that_cannot_be_decoded() -> None:
    sieve = make_sieve(Json(), redact=Redactor("a"))
    assert sieve.sift(b"broken\n", 1, 0).count == 0
    assert sieve.away == KeptAway(redaction=1)


def test_a_selection_of_lines_that_are_not_json_counts_them_and_is_no_error() -> None:
    sieve = make_sieve(Lines(), Select(fields="a"))
    assert sieve.sift(b"plain\ntext\n", 2, 0).count == 0
    assert sieve.away == KeptAway(decoding=2)


def test_an_event_of_json_in_several_lines_is_redacted_whole_or_withheld() -> None:
    sieve = make_sieve(Json(), redact=Redactor("names,x.y"))
    indented = b'{"names":[\n"ada",\n"eve"\n],"x":[\n{"y":"bob"}\n]}\n'
    sifted = sieve.sift(indented, 1, 0)
    assert re.fullmatch(rb'{"names":"%b","x":\[{"y":"%b"}\]}\n' % (TOKEN, TOKEN), sifted.payload)
    assert (sifted.count, sifted.split) == (1, 0)
    assert sieve.sift(indented + b"{\n", 2, 0).count == 0
    assert sieve.away == KeptAway(redaction=2)
    deep = b"[" * 990 + b"]" * 990 + b"\n"  # decodes, but cannot be redacted: one event at a time
    assert b"eve" not in sieve.sift(indented + deep, 2, 0).payload


def test_lines_that_make_an_event_together_are_looked_into_one_by_one() -> None:
    lines = b'{"x":\n{"name":"ada"}\n}\n1 2 3\n'
    sieve = make_sieve(Lines(), redact=Redactor("name"))
    assert re.fullmatch(rb'{"name":"%b"}\n' % TOKEN, sieve.sift(lines, 4, 0).payload)
    assert sieve.away == KeptAway(redaction=3)
    chosen = make_sieve(Lines(), Select(where="name"))
    assert chosen.sift(lines, 4, 0).payload == b'{"name":"ada"}\n'


def test_lines_that_the_text_rules_out_are_counted_with_those_that_do_not_match() -> None:
    sieve = make_sieve(Lines(), Select(where="user=='root'"))
    lines = [b'{"user":"bin"}', b'{"user":"root"}', b'{"x":"root"}', b'{"user":"sys"}']
    sifted = sieve.sift(b"".join(line + b"\n" for line in lines), 4, 0)
    assert (sifted.places, sieve.away) == ([1], KeptAway(where=3))
