"""The routes: what is at which URL, who may ask for it, and what is noted of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.responses import Response as Answer
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .._version import __version__
from ..consumer.session import Session
from ..errors import TapError
from ..shm.listed import listed
from ..shm.looks import Looking
from ..shm.names import split_address
from ..shm.offered import recorded_at, stages_of, usual_stages
from ..shm.requests import ALL_STAGES
from ..words import duration_in_words
from . import query
from .access import Access, Grant, Role
from .answers import HANDLERS, WhoAmI, json_answer, no_route
from .audit import Audit
from .connections import CONNECTION
from .dumped import Dumped
from .encoding import Encoding, encoding_of
from .files import INDEX, page_files
from .guard import Guard
from .metrics import registry, text
from .openapi import document
from .opening import open_live, open_past
from .places import Places
from .positions import Positions
from .problem import Problem, malformed, not_found, problem_of
from .response import Response
from .sent import Sent
from .settings import Settings
from .stream import Stream
from .tally import Tally

_DUMPS: Final = 2
_SAID: Final = 300  # characters of a path or an error that are noted
_Result = TypeVar("_Result")


class Gateway:
    """Answers the requests of one server. ``app`` is the ASGI application; ``streams`` run."""

    def __init__(self, access: Access, audit: Audit, settings: Settings) -> None:
        self.access = access
        self.audit = audit
        self.settings = settings
        self.streams: set[Response] = set()
        self._tally = Tally()
        self._places = Places(settings.streams, settings.streams_each)
        self._dumps = Places(_DUMPS, what="dumps")
        self._looking = Looking(None)
        self._look = asyncio.Lock()
        self._page = page_files()
        routes = [
            Route("/", self.page, methods=["GET"]),
            Route("/page/{name}", self.page, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/api/v1/openapi.json", self.openapi, methods=["GET"]),
            Route("/api/v1/whoami", self.whoami, methods=["GET"]),
            Route("/api/v1/check", self.check, methods=["GET"]),
            Route("/api/v1/engines", self.engines, methods=["GET"]),
            Route("/api/v1/engines/{name}", self.engine, methods=["GET"]),
            Route("/api/v1/tap/{address}", _Raw(self.tap, self.note), methods=["GET"]),
            Route("/api/v1/dump/{address}", _Raw(self.dump, self.note), methods=["POST"]),
        ]
        inner = Starlette(routes=routes, exception_handlers=HANDLERS)
        inner.router.redirect_slashes = False
        self.app: ASGIApp = Guard(inner, settings.hosts, self.note)

    def stop(self) -> None:
        """Make all streams end soon."""
        for stream in tuple(self.streams):
            stream.stop()

    # ---- small answers -----------------------------------------------------------------

    async def page(self, request: Request) -> Answer:
        """A file of the page. It asks its reader for the token, so it needs none itself."""
        _no_parameters(request)
        file = self._page.get(request.path_params.get("name", INDEX))
        if file is None:
            return await no_route(request, KeyError())
        return Answer(file.body, media_type=file.media_type)

    async def openapi(self, request: Request) -> Answer:
        """What there is to ask for, for programs. It tells nothing of what runs here."""
        _no_parameters(request)
        return json_answer(document())

    async def whoami(self, request: Request) -> Answer:
        """What the request's token allows, and what is hidden from its owner."""
        grant = self.grant(request, Role.LS)
        _no_parameters(request)
        redacted = self.settings.hidden.described(grant.role)
        return json_answer(WhoAmI(grant.name, grant.role.word, redacted, __version__))

    async def check(self, request: Request) -> Answer:
        """Whether these are valid parameters of a stream, while somebody types them."""
        self.grant(request, Role.LS)
        asked = query.live(request.query_params.multi_items())
        await asyncio.to_thread(lambda: (asked.select(), asked.redactor()))
        return json_answer({})

    async def health(self, request: Request) -> Answer:
        """Whether the server works: for load balancers, without a token."""
        return PlainTextResponse("ok\n")

    async def metrics(self, request: Request) -> Answer:
        """Metrics for Prometheus, of the engines that can be read here."""
        self.grant(request, Role.LS)
        accept = request.headers.get("accept", "")
        try:
            body, kind = await asyncio.to_thread(
                text, registry(self.settings.allows, self._tally), accept
            )
        except TapError as error:
            raise problem_of(error, "") from None
        return Answer(body, headers={"content-type": kind})

    async def engines(self, request: Request) -> Answer:
        """All engines, as ``tapring ls --json`` lists them."""
        self.grant(request, Role.LS)
        _no_parameters(request)
        return json_answer(await self._listed())

    async def engine(self, request: Request) -> Answer:
        """The lanes of one engine."""
        self.grant(request, Role.LS)
        _no_parameters(request)
        name = request.path_params["name"]
        lanes = [each for each in await self._listed() if each.name == name]
        if not lanes:
            raise not_found(name)
        return json_answer(lanes)

    async def _listed(self) -> list[Any]:
        """What can be read here. Rates are those since the last request for them."""
        async with self._look:
            looked = await asyncio.to_thread(self._looking.look, lambda: time.sleep(0.2))
        every = listed(looked.lanes, looked.rates, looked.children)
        return [each for each in every if self.settings.allows(each.name)]

    # ---- events ------------------------------------------------------------------------

    async def tap(self, request: Request, receive: Receive, send: Send) -> None:
        """Live events of an engine."""
        grant = self.grant(request, Role.READ)
        address = self._address(request)
        asked = query.live(request.query_params.multi_items())
        if asked.duration is not None and asked.duration > self.settings.longest_s:
            longest = duration_in_words(self.settings.longest_s)
            raise malformed(
                f"a stream lasts at most {longest} here", f"Ask for duration={longest} or less."
            )
        if not asked.stages:
            there = recorded_at(address) if asked.last else ()
            usual = usual_stages(there or stages_of(address))
            asked = msgspec.structs.replace(asked, stages=(usual,))
        several = len(asked.stages) > 1 or ALL_STAGES in asked.stages
        encoding = self._encoding(request, asked, several=several)
        positions = Positions()
        if encoding.resumes and (last_id := request.headers.get("last-event-id")):
            positions = Positions.parse(last_id)
        with self._places.one(grant.name), self._audited(request, grant, address, asked) as sent:
            session, report = await _in_thread(
                partial(open_live, self.settings, address, asked, grant.role, sent, positions),
                lambda opened: opened[0].close(),
            )
            asked_s = asked.duration or self.settings.longest_s
            stream = Stream(
                session,
                encoding,
                sent,
                report,
                deadline_s=asked_s,
                still_allowed=partial(self._still_allowed, request, grant),
                limit=asked.limit,
                positions=positions,
            )
            await self._respond(stream, request, receive, send, _kinds_of(session))

    async def dump(self, request: Request, receive: Receive, send: Send) -> None:
        """What the recorders of an engine hold, also after it has died."""
        grant = self.grant(request, Role.READ)
        address = self._address(request)
        asked = query.dump(request.query_params.multi_items())
        with self._dumps.one(grant.name), self._audited(request, grant, address, asked) as sent:
            found, report = await _in_thread(
                partial(open_past, self.settings, address, asked, grant.role, sent),
                lambda opened: opened[0].close(),
            )
            encoding = self._encoding(request, asked, several=len(found.kinds) > 1)
            dumped = Dumped(
                found,
                encoding,
                sent,
                report,
                still_allowed=partial(self._still_allowed, request, grant),
                limit=asked.limit,
            )
            kinds = {stage: kind.name for stage, kind in found.kinds.items()}
            await self._respond(dumped, request, receive, send, kinds)

    # ---- what they share ---------------------------------------------------------------

    def grant(self, request: Request, role: Role) -> Grant:
        """Return what the request's token allows. Raises Problem unless that is ``role``."""
        try:
            grant = self.access.grant(_token(request))
            if grant.role < role:
                raise Problem(
                    403,
                    f"the token of {grant.name} has the role {grant.role.word}, and this needs "
                    f"{role.word}",
                    "Ask the owner of this server for a token with that role.",
                )
        except Problem as problem:
            self.note(request.scope, problem)
            raise
        connection = request.scope["state"].get(CONNECTION)
        if connection is not None:
            connection.know()
        return grant

    def note(self, scope: Scope, problem: Problem) -> None:
        """Note a refusal in the audit, once. Raises Problem if that cannot be written."""
        if not problem.noted:
            problem.noted = True
            said = str(problem)[:_SAID]
            self.audit.write("refused", **_of(Request(scope)), status=problem.status, error=said)

    def _still_allowed(self, request: Request, before: Grant) -> None:
        """Raise Problem unless the request's token allows what it did as a stream began."""
        now = self.grant(request, Role.READ)
        if (now.role, now.name) != (before.role, before.name):
            raise Problem(403, "this token has another role or name by now", "Begin a new stream.")

    def _address(self, request: Request) -> str:
        """Return what is to be read. Raises Problem unless it may be."""
        asked: str = request.path_params["address"]
        address = query.address(asked)
        if not self.settings.allows(split_address(address).engine):
            raise not_found(asked)  # of a process, not even its engine's name is told
        return address

    def _encoding(self, request: Request, asked: query.Selecting, *, several: bool) -> Encoding:
        name = asked.format
        if name is None:
            accepts = request.headers.get("accept", "")
            name = "sse" if "text/event-stream" in accepts.lower() else "ndjson"
        return encoding_of(name, envelope=asked.envelope or several)

    @contextmanager
    def _audited(
        self, request: Request, grant: Grant, address: str, asked: query.Selecting
    ) -> Iterator[Sent]:
        """Note that a read begins, and how it ended."""
        facts: dict[str, Any] = {
            "id": self.audit.next_id(),
            **_of(request),
            "who": grant.name,
            "role": grant.role.word,
            "address": address,
            "stages": asked.stages,
            "redacted": self.settings.hidden.described(grant.role),
        }
        given = asked.described()
        given.pop("stages", None)
        self.audit.write("began", **facts, asked=given)
        begun, sent, failed = time.monotonic(), Sent(asked.format or "ndjson"), None
        try:
            yield sent
        except Problem as problem:
            failed = problem
            problem.noted = True
            raise
        finally:
            self.audit.write(
                "ended",
                **facts,
                events=sent.events,
                bytes=sent.bytes,
                seconds=round(time.monotonic() - begun, 3),
                ended_by=sent.ended_by,
                status=0 if failed is None else failed.status,
                error="" if failed is None else str(failed),
            )

    async def _respond(
        self,
        response: Response,
        request: Request,
        receive: Receive,
        send: Send,
        kinds: Mapping[str, str],
    ) -> None:
        """Send a response to its end, and cut off a client that does not take it."""
        headers = {
            "content-type": response.encoding.media_type,
            "tapring-stages": ",".join(f"{stage}={kind}" for stage, kind in kinds.items()),
            "x-accel-buffering": "no",  # nginx would hold events back
        }
        raw = [(name.encode(), each.encode()) for name, each in headers.items()]
        self.streams.add(response)
        with self._tally.one(response):
            try:
                await send({"type": "http.response.start", "status": 200, "headers": raw})
                in_time = await response.run(receive, send)
            finally:
                self.streams.discard(response)
                await response.close()
                response.sent.ended_by = response.ended_by
        if not in_time:
            connection = request.scope["state"].get(CONNECTION)
            if connection is not None:
                connection.abort()


class _Raw:
    """A route that sends by itself."""

    def __init__(
        self,
        route: Callable[[Request, Receive, Send], Awaitable[None]],
        note: Callable[[Scope, Problem], None],
    ) -> None:
        self._route = route
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] == "HEAD":
            raise Problem(405, "this has no head without its body", "Use GET.", {"Allow": "GET"})
        try:
            await self._route(Request(scope, receive), receive, send)
        except Problem as problem:
            self._note(scope, problem)
            raise


def _token(request: Request) -> str | None:
    """The bearer token of a request (RFC 6750, 2.1); None without one. Raises Problem for two."""
    given = request.headers.getlist("authorization") or [""]
    if len(given) > 1:
        raise malformed("the header authorization comes twice", "Send it once.")
    scheme, _, token = given[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _of(request: Request) -> dict[str, str]:
    """Where a request came from and what it asked, without its query, which may hold values."""
    client = request.client
    return {
        "source": f"{client.host}:{client.port}" if client else "unix",
        "method": request.method,
        "path": request.url.path[:_SAID],
    }


def _kinds_of(session: Session[Any]) -> Mapping[str, str]:
    return {each.stage: each.kind for each in session.lanes_joined}


async def _in_thread(work: Callable[[], _Result], undo: Callable[[_Result], object]) -> _Result:
    """Do ``work`` in a thread; if this is cancelled meanwhile, undo it once it is done."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        undo(await task)
        raise


def _no_parameters(request: Request) -> None:
    if request.query_params:
        raise malformed("this takes no parameters", "Leave the query out.")
