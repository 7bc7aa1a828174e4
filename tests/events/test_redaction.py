"""Redaction: tokens replace raw values; within one capture, equal values get equal tokens."""

import copy
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapring
from tapring import Redactor
from tapring.events import redaction
from tapring.events.redaction import PREFIX

TOKEN = re.compile(r"tapring:redacted:[0-9a-f]{16}")


def redacted(paths: str, event, **options):
    return Redactor(paths, **options).redact(copy.deepcopy(event))


def test_a_value_becomes_a_token() -> None:
    event = redacted("src_ip,user.email", {"src_ip": "10.0.0.1", "user": {"email": "a@x", "id": 1}})
    assert TOKEN.fullmatch(event["src_ip"])
    assert TOKEN.fullmatch(event["user"]["email"])
    assert event["user"]["id"] == 1


def test_equal_values_are_equal_within_a_capture_and_not_across_two() -> None:
    one, two = Redactor("a,b,c"), Redactor("a,b,c")
    first = one.redact({"a": "x", "b": "x", "c": "y"})
    assert first["a"] == first["b"] != first["c"]
    assert one.redact({"a": "x"})["a"] == first["a"]
    assert two.redact({"a": "x"})["a"] != first["a"]


@pytest.mark.parametrize("value", [1, 1.5, True, False, None, {}, [], {"k": [1]}, "", 2**70, "é\n"])
def test_a_value_of_any_type_is_redacted(value) -> None:
    event = redacted("v", {"v": value})
    assert TOKEN.fullmatch(event["v"])
    assert redacted("v.deep", {"v": value}) in ({"v": value},)


def test_values_that_json_calls_equal_have_equal_tokens() -> None:
    token = Redactor("x").token
    assert token(8080) == token(8080.0) == token("8080")
    assert token({"a": 1, "b": [2.0]}) == token({"b": [2], "a": 1})
    assert token(True) != token(1)
    assert token(None) == token("null")
    assert token(1e300) != token(1.0000000000000002e300)


def test_a_path_that_matched_nothing_is_reported() -> None:
    redactor = Redactor("usr.email,src_ip")
    redactor.redact({"user": {"email": "a"}, "src_ip": "1"})
    assert redactor.unmatched == ("usr.email",)
    assert not redactor.regex_unmatched
    assert Redactor(regex="x").regex_unmatched


def test_a_regex_hides_its_matches_in_lines_or_its_groups_alone() -> None:
    whole = Redactor(regex=r"\d+\.\d+\.\d+\.\d+")
    text = whole.redact_text("from 10.0.0.1 to 10.0.0.2, 10.0.0.1")
    tokens = TOKEN.findall(text)
    assert len(tokens) == 3
    assert tokens[0] == tokens[2] != tokens[1]
    assert "10.0" not in text
    grouped = Redactor(regex=r"user (\w+)(?: of (\w+))?").redact_text("user root of wheel; user x")
    assert re.fullmatch(rf"user {TOKEN.pattern} of {TOKEN.pattern}; user {TOKEN.pattern}", grouped)
    nested = Redactor(regex=r"((a)b)c").redact_text("abc")
    assert re.fullmatch(rf"{TOKEN.pattern}c", nested)


def test_a_regex_reaches_every_string_number_and_key_of_an_event() -> None:
    event = {"t": "id 4711", "n": 4711, "f": 4711.5, "in": [{"4711": ["x4711"]}], "ok": True}
    text = msgspec.json.encode(redacted("", event, regex="4711"))
    assert b"4711" not in re.sub(rb"[0-9a-f]{16}", b"", text)
    assert msgspec.json.decode(text)["ok"] is True


@pytest.mark.parametrize("bad", ["(", "[a", "a{2,1}", "*"])
def test_an_invalid_regex_is_refused_with_the_reason(bad) -> None:
    with pytest.raises(ValueError, match="Invalid regular expression.*Try"):
        Redactor(regex=bad)


def test_a_regex_of_bytes_is_refused() -> None:
    for wrong in (b"x", re.compile(b"x")):
        with pytest.raises(TypeError, match="must be a str, not bytes"):
            Redactor(regex=wrong)


def test_paths_alone_hide_nothing_in_text_that_is_no_event() -> None:
    assert Redactor("src_ip").redact_text("src_ip 10.0.0.1") == "src_ip 10.0.0.1"


def test_tokens_stay_equal_when_more_values_came_than_are_remembered(monkeypatch) -> None:
    monkeypatch.setattr(redaction, "_REMEMBERED", 8)
    token = Redactor("x").token
    first = [token(str(n)) for n in range(100)]
    assert [token(str(n)) for n in range(100)] == first
    assert len(set(first)) == 100


def test_no_more_values_are_remembered_than_that(monkeypatch) -> None:
    monkeypatch.setattr(redaction, "_REMEMBERED", 8)
    redactor = Redactor("x")
    for n in range(100):
        redactor.token(str(n))
        assert len(redactor._tokens) <= 8


def test_nothing_to_redact_is_refused() -> None:
    with pytest.raises(ValueError, match="src_ip"):
        Redactor()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_tokens_are_equal_where_values_are(one, other) -> None:
    token = Redactor("x").token
    again = msgspec.json.decode(msgspec.json.encode(one))
    assert token(one) == token(again)
    if token(one) == token(other):
        same = msgspec.json.encode(one, order="sorted").strip(b'"')
        assert isinstance(one, float | dict | list) or same == msgspec.json.encode(other).strip(
            b'"'
        )


def test_the_prefix_of_tokens_is_public() -> None:
    assert PREFIX == "tapring:redacted:"
    assert tapring.Redactor is Redactor


def test_a_regex_leaves_lists_and_objects_what_they_were() -> None:
    event = redacted("", {"in": ["a", 4711, None, True, ["4711"]]}, regex="4711")
    first, number, *constants, inner = event["in"]
    assert (first, constants) == ("a", [None, True])
    assert TOKEN.fullmatch(number)
    assert TOKEN.fullmatch(inner[0])


def test_a_regex_that_matches_their_names_leaves_true_false_and_null() -> None:
    assert redacted("", [None, True, False], regex="null|true|false") == [None, True, False]


def test_a_number_with_a_fraction_has_not_the_token_of_the_whole_one() -> None:
    token = Redactor("x").token
    assert token([1.5]) != token([1])
    assert token([1.0]) == token([1])


def test_a_key_is_redacted_where_a_wildcard_leads_to_it_and_another_path_names_it() -> None:
    for paths in ("a.x,*.y", "*.y,a.x"):
        event = redacted(paths, {"a": {"x": 1, "y": 2}, "b": {"y": 3}})
        assert all(map(TOKEN.fullmatch, (event["a"]["x"], event["a"]["y"], event["b"]["y"])))
        event = redacted(f"0.x,{paths}", [{"x": 1, "y": 2}, {"y": 3}])
        assert all(map(TOKEN.fullmatch, (event[0]["x"], event[0]["y"], event[1]["y"])))


def test_an_escaped_star_is_the_key_of_that_name_and_no_other() -> None:
    event = redacted("\\*", {"*": 1, "a": 2})
    assert TOKEN.fullmatch(event["*"])
    assert event["a"] == 2


def test_a_regex_does_not_look_into_a_token() -> None:
    redact = Redactor(regex=r"[0-9a-f]+")
    once = redact.redact_text("id beef")
    assert once.startswith("i")
    assert redact.redact_text(once) == once


@pytest.mark.parametrize("key", ["password", "Password", "PASSWORD", "pa\u017f\u017fword"])
def test_a_path_may_ignore_case(key) -> None:
    redact = Redactor("a.password,B.*.c", ignore_case=True)
    event = redact.redact({"A": [{key: "raw"}], "b": {"x": {"C": "raw"}}, "c": 1})
    assert "raw" not in str(event)
    assert event["c"] == 1
    assert redact.unmatched == ()
    assert Redactor("password").redact({"Password": 1}) == {"Password": 1}


@pytest.mark.parametrize(
    "text",
    [
        '{"user":"raw"}',
        ' [{"user":"raw"}]',
        '{"user":"{\\"n\\":\\"raw\\"}"}',
        '{"user":"raw',
        "[raw",
        '\ufeff{"user":"raw"}',
        '"{\\"user\\":\\"raw\\"}"',
        ' "\\"{\\\\\\"user\\\\\\":\\\\\\"raw\\\\\\"}\\""',
        '"{\\"user\\":\\"raw',
    ],
)
def test_a_path_reaches_into_a_string(text) -> None:
    redact = Redactor("body.user", in_strings=True)
    event = redact.redact({"body": text, "other": text, "n": "raw"})
    assert "raw" not in event["body"]
    assert event["other"] == text
    assert redact.redact({"body": "plain"}) == {"body": "plain"}
    assert Redactor("body.user").redact({"body": text}) == {"body": text}


@pytest.mark.parametrize("regex", ["user|e?mail", "[a-z]+", ".*", "(user).*"])
@pytest.mark.parametrize("in_strings", [False, True])
def test_a_path_finds_its_value_whatever_a_regex_finds_in_its_keys(regex, in_strings) -> None:
    redact = Redactor("user.email,body.email", regex=regex, in_strings=in_strings)
    event = {"user": {"email": 4711, "n": 1}, "body": {"email": 4711}}
    if in_strings:
        event["body"] = msgspec.json.encode(event["body"]).decode()
    assert "4711" not in re.sub(TOKEN, "", str(redact.redact(event)))
    assert redact.unmatched == ()


def test_a_regex_finds_text_in_which_a_path_has_put_a_token() -> None:
    redact = Redactor("body.user", regex=r"\{.*\}", in_strings=True)
    event = redact.redact({"body": '{"user":"raw","name":"ada"}'})
    assert "ada" not in event["body"]
    kept = Redactor(regex=r"to \w+:\w+:(\w+) (\w+)")
    token = kept.token("x")
    assert re.fullmatch(f"to {token} {TOKEN.pattern}", kept.redact_text(f"to {token} ada"))


@pytest.mark.parametrize("regex", [f"{PREFIX}[0-9a-f]+", f"({PREFIX})", "[0-9a-f]{4}$"])
def test_a_regex_that_matches_a_token_or_its_end_leaves_it(regex) -> None:
    redactor = Redactor("email", regex=regex)
    (token,) = redactor.redact({"email": "ada@example.org"}).values()
    assert token == Redactor.token(redactor, "ada@example.org")


def test_what_is_hidden_can_be_seen_of_a_redactor() -> None:
    assert repr(Redactor("a,b.c")) == "<Redactor paths=('a', 'b.c') regex=None>"
    assert repr(Redactor(regex="x+")) == "<Redactor paths=() regex='x+'>"


@given(st.sampled_from(["4111111111111111", "ann", "aaaaaaaaaaaaaaaa", "0123456789abcdef"]))
def test_what_only_looks_like_a_token_hides_nothing_from_the_regex(value) -> None:
    redactor = Redactor(regex=r"\d{16}|ann")
    text = f"card tapring:redacted:{value} paid"
    once = redactor.redact_text(text)
    if re.fullmatch("[0-9a-f]{16}", value):
        assert value not in once
    assert redactor.redact_text(once) == once
    assert Redactor(regex=r"\d{16}").redact_text(text) != once or value == "ann"
