"""What the page does when its connection, its token, the engine or the server ends."""

import json
import os
import selectors
import socket
import threading
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest

import tapring
from tests.conftest import wait_until


class Proxy:
    """Passes connections on to a port, until it is told to cut them. A context manager."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.bytes = 0
        self.lets_in = True
        self._pairs = {}
        self._wanted = threading.Event()
        self._cut = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def cut(self, *, lets_in=True):
        """Cut all connections, in the middle of what is sent; then let new ones in or not."""
        self.lets_in = lets_in
        self._cut.clear()
        self._wanted.set()
        assert self._cut.wait(30)

    def _run(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ends.is_set():
                if self._wanted.is_set():
                    self._wanted.clear()
                    for each in [*self._pairs]:
                        self._close(selector, each)
                    self._cut.set()
                for key, _ in selector.select(0.01):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif key.fileobj in self._pairs:
                        self._pass_on(selector, key.fileobj)
            for each in [*self._pairs]:
                self._close(selector, each)

    def _accept(self, selector):
        client, _ = self._listener.accept()
        if not self.lets_in:
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._to))
        for one, other in ((client, server), (server, client)):
            self._pairs[one] = other
            selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, selector, source):
        try:
            part = source.recv(997)  # so a cut is nearly always within a message
            if part:
                self._pairs[source].sendall(part)
                self.bytes += len(part)
                return
        except OSError:
            pass
        self._close(selector, source)

    def _close(self, selector, one):
        other = self._pairs.pop(one, None)
        if other is None:
            return
        self._pairs.pop(other)
        for each in (one, other):
            selector.unregister(each)
            each.close()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def proxy(server):
    """A proxy before the server, that cuts connections."""
    with Proxy(server.port) as running:
        yield running


def test_a_dropped_connection_resumes_with_no_event_twice_and_none_missing(
    reader, server, start_engine, name, recordings, proxy
):
    engine = start_engine(name, "decoded")
    reader.watch(server, engine, base=proxy.base)
    for cut in range(4):
        engine.offer_numbers(cut * 2000, 1000, batch=50)
        if cut % 2:
            reader.wait_for_count("shown", cut * 2000 + 1000)
        proxy.cut(lets_in=False)
        reader.wait(
            "document.getElementById('state').textContent.startsWith('Connection lost')", True
        )
        engine.offer_numbers(cut * 2000 + 1000, 1000, batch=50)
        proxy.lets_in = True
        reader.hurry()
        reader.wait_for_state("Live")
    reader.wait_for_count("shown", 8000)
    kept = reader.downloaded()
    assert [each["event"]["n"] for each in kept] == list(range(8000))
    assert reader.count("missed") == 0


def test_a_row_says_where_events_are_missing_that_nobody_has_recorded(
    reader, server, engine, proxy
):
    reader.watch(server, engine, base=proxy.base)
    engine.offer_numbers(0, 2)
    reader.wait_for_count("shown", 2)
    proxy.cut(lets_in=False)
    reader.wait("document.getElementById('state').dataset.state", "reconnecting")
    reader.wait("document.getElementById('hurry').hidden", False)
    proxy.lets_in = True
    reader.wait_for_state("Live")
    engine.offer_numbers(2, 2)
    reader.wait_for_count("shown", 4)
    lost = "The connection was lost here; events meanwhile are missing"
    assert reader.shown == ['{"n":0}', '{"n":1}', lost, '{"n":2}', '{"n":3}']


def test_a_place_that_is_taken_for_a_while_is_waited_for(reader, serve, engine):
    server = serve("--max-streams", "1", "--buffer", "1MiB")
    with Proxy(server.port) as proxy:
        reader.watch(server, engine, base=proxy.base)
        proxy.cut(lets_in=False)
        reader.wait("document.getElementById('state').dataset.state", "reconnecting")
        with taken(server, engine):
            proxy.lets_in = True
            reader.hurry()
            told = reader.page.locator("#state")
            told.get_by_text("which is its limit (--max-streams). Reconnecting in").wait_for()
        reader.hurry()
        reader.wait_for_state("Live")
        reader.wait("document.getElementById('hurry').hidden", True)


@contextmanager
def taken(server, engine):
    """Hold the place of a stream."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        path, headers = f"/api/v1/tap/{engine.name}", {"Authorization": f"Bearer {server.token}"}

        def is_mine():
            connection.close()
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status == 200

        wait_until(is_mine)
        yield


def test_a_token_that_expires_is_asked_for_again_and_what_is_shown_stays(
    reader, serve, engine, tmp_path
):
    tokens = tmp_path / "tokens"
    expiring, lasting = "expiring-token-0123456789", "lasting-token-0123456789a"

    def write(until):
        descriptor = os.open(tmp_path / "new", os.O_CREAT | os.O_WRONLY, 0o600)
        with open(descriptor, "w") as file:
            file.write(f"one read {expiring} {until}\nother read {lasting}\n")
        (tmp_path / "new").rename(tokens)

    write("2999-01-01")
    server = serve("--tokens", str(tokens), "--buffer", "1MiB")
    server.token = expiring
    reader.watch(server, engine)
    engine.offer_numbers(0, 20)
    reader.wait_for_count("shown", 20)
    write("2020-01-01")
    reader.page.get_by_label("Token", exact=True).wait_for()
    reader.page.locator("#token-error").get_by_text("this token has expired").wait_for()
    assert reader.shown[-1] == '{"n":19}'
    reader.page.get_by_label("Token", exact=True).fill("wrong-token-wrong-token")
    reader.page.keyboard.press("Enter")
    reader.page.locator("#token-error").get_by_text("not known").wait_for()
    reader.page.get_by_label("Token", exact=True).fill(lasting)
    reader.page.keyboard.press("Enter")
    reader.wait_for_state("Live")
    assert not reader.page.is_visible("#token-form")
    engine.offer_numbers(20, 5)
    reader.wait_for_count("shown", 25)
    assert [each["event"]["n"] for each in reader.downloaded()] == list(range(25))


def test_without_a_token_the_page_asks_for_it(reader, server, engine):
    reader.page.goto(f"{server.base}/#engine={engine.name}")
    field = reader.page.get_by_label("Token", exact=True)
    field.wait_for()
    assert reader.page.evaluate("document.activeElement.id") == "token"
    field.fill(server.token)
    reader.page.get_by_role("button", name="Continue").click()
    reader.wait_for_state("Live")
    assert server.token not in reader.page.url


def test_a_link_with_what_is_no_token_does_not_take_a_good_one_away(reader, server, engine):
    reader.watch(server, engine)
    reader.page.evaluate("location.hash += '&token=%0A%E2%98%83'")
    reader.wait("location.hash.includes('token')", False)
    reader.page.reload()
    reader.wait_for_state("Live")
    assert not reader.page.is_visible("#token-form")


def test_a_token_in_the_url_of_an_open_page_begins_one_stream(reader, server, engine):
    reader.open(server)
    asked = []
    reader.page.on("request", lambda request: asked.append(request.url))
    reader.watch(server, engine)
    engine.offer_numbers(0, 2)
    reader.wait_for_count("shown", 2)
    assert len([url for url in asked if "/tap/" in url]) == 1
    assert reader.shown == ['{"n":0}', '{"n":1}']


def test_the_end_of_an_engine_is_told_and_can_be_gone_on_from(
    reader, server, start_engine, engine, name
):
    reader.watch(server, engine)
    engine.offer_numbers(0, 5)
    reader.wait_for_count("shown", 5)
    engine.end()
    reader.page.get_by_role("alert").get_by_text("The engine has exited.").wait_for()
    assert reader.page.text_content("#state") == "Ended: engine-exit"
    reader.page.get_by_role("button", name="Continue").click()
    reader.page.get_by_role("alert").get_by_text("no engine that can be read here").wait_for()
    again = start_engine(name)
    reader.page.get_by_role("button", name="Try again").click()
    reader.wait_for_state("Live")
    again.offer('{"n":5}')
    reader.wait_for_count("shown", 6)
    assert reader.shown[-1] == '{"n":5}'


def test_the_death_of_an_engine_is_told(reader, server, engine):
    reader.watch(server, engine)
    engine.process.kill()
    engine.process.wait()
    reader.page.get_by_role("alert").get_by_text("The engine has died.").wait_for()


def test_the_end_of_the_server_is_told(reader, serve, engine):
    server = serve()
    reader.watch(server, engine)
    server.stop()
    reader.page.get_by_role("alert").get_by_text("The server was stopped.").wait_for()
    reader.page.get_by_role("button", name="Continue").click()
    reader.page.get_by_role("alert").get_by_text("The server cannot be reached.").wait_for()


def test_what_the_server_refuses_is_shown_with_what_to_do(reader, serve, engine):
    server = serve("--max-streams-per-token", "1")
    reader.watch(server, engine)
    other = reader.page.context.new_page()
    other.goto(f"{server.base}/#token={server.token}&engine={engine.name}")
    other.get_by_role("alert").get_by_text("Close one of them first.").wait_for()
    other.close()


def test_a_reader_who_may_only_list_is_told(reader, serve, engine, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("lister ls only-lists-0123456789\n")
    tokens.chmod(0o600)
    server = serve("--tokens", str(tokens))
    server.token = "only-lists-0123456789"
    reader.open(server)
    reader.page.get_by_role("button", name=engine.name).click()
    reader.page.get_by_role("alert").get_by_text("has the role ls").wait_for()


def test_what_the_server_hides_is_said(reader, serve, engine, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("one read reads-redacted-0123456789\n")
    tokens.chmod(0o600)
    server = serve("--tokens", str(tokens), "--redact", "user.email", "--buffer", "1MiB")
    server.token = "reads-redacted-0123456789"
    reader.watch(server, engine)
    reader.page.get_by_text("The server hides user.email.").wait_for()
    engine.offer('{"user":{"email":"a@example.org"}}')
    reader.wait_for_count("shown", 1)
    assert "example.org" not in str(reader.downloaded())


def test_messages_are_parsed_however_they_arrive(reader, server):
    reader.open(server)
    text = "event: account\ndata: {}\n\n: still here\n\n"
    text += "data: {1}\ndata: {2}\nid: 5;a.b=1\n\ndata: half"
    parsed = reader.page.evaluate(
        """async (text) => {
          const { Messages } = await import("/page/messages.js");
          const parsed = (pieces) => {
            const messages = new Messages();
            return JSON.stringify(pieces.flatMap((piece) => messages.push(piece)));
          };
          const halves = [...text].map((_, at) => parsed([text.slice(0, at), text.slice(at)]));
          return [parsed([text]), parsed([...text]), ...halves];
        }""",
        text,
    )
    account = {"event": "account", "id": None, "lines": ["{}"]}
    message = {"event": "message", "id": "5;a.b=1", "lines": ["{1}", "{2}"]}
    assert {*parsed} == {json.dumps([account, message], separators=(",", ":"))}


def test_the_connection_is_closed_with_the_page(reader, server, engine):
    reader.watch(server, engine)
    reader.page.goto("about:blank")

    def sessions():
        (lane,) = [each for each in tapring.engines() if each.name == engine.name]
        return lane.sessions

    wait_until(lambda: not sessions())
