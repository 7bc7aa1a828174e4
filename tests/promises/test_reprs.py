"""What the public objects say of themselves in a log or a debugger."""

import tapring


def test_a_tap_its_handle_and_its_session_say_which_they_are_and_how_they_stand(name) -> None:
    with tapring.Tap(name) as tap:
        handle = tap.register("raw")
        assert repr(tap) == f"<Tap {name!r} {tap.lane} sessions=1>"
        tap.snapshot().offer("raw", [b"one", b"two"])
        assert repr(handle) == "<Handle 1 open captured=2 dropped=0>"
        with tapring.attach_session(name, 1) as session:
            assert repr(session) == f"<Session {name}.{tap.lane}:1 stage=raw open>"
            handle.close()
            assert session.read(3, timeout=0) == [b"one", b"two"]
            assert session.read(1, timeout=0) == []
            assert repr(session) == f"<Session {name}.{tap.lane}:1 stage=raw ended by closed>"
        assert repr(handle) == "<Handle 1 closed captured=2 dropped=0>"
    assert repr(tap) == f"<Tap {name!r} closed sessions=0>"


def test_an_inert_tap_says_why(name, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_DISABLE", "1")
    assert "inert: TAPRING_DISABLE=1" in repr(tapring.Tap(name))


def test_what_is_asked_of_a_capture_reads_as_it_was_asked() -> None:
    select = tapring.Select(where="a", fields="a,b")
    assert repr(select) == "<Select where='a' fields=['a', 'b']>"
    assert repr(tapring.Select()) == "<Select everything>"
    redactor = tapring.Redactor("a.b", regex="x+")
    assert repr(redactor) == "<Redactor paths=('a.b',) regex='x+'>"
