"""The OpenAPI document: every route, parameter and answer, made of the types that make them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from .._version import __version__
from ..delivery.past_report import PastSummary
from ..delivery.report import Summary
from ..shm.listed import ListedLane, RefusedLane
from .answers import WhoAmI
from .encoding import Gap
from .problem import Told
from .query import FORMATS, LONGEST

_DURATION: Final = {"type": "string", "minLength": 1, "example": "30s"}
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": LONGEST}
_COUNT: Final = {"type": "integer", "minimum": 1}
_FLAG: Final = {"type": "boolean"}
_SELECTING: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "stage": (_TEXT, "One stage, several with commas between, or * for all."),
    "limit": (_COUNT, "Stop after this many events."),
    "grep": (_TEXT, "Keep events whose text matches this regular expression."),
    "where": (_TEXT, "Keep events for which this JMESPath expression is true."),
    "sample": (_COUNT, "Keep one event in so many."),
    "by": (_TEXT, "With sample: keep all events or none with the same value of this field."),
    "rate": (_TEXT, "Keep at most so many events: 100/s, 30/m, 5/h."),
    "fields": (_TEXT, "Keep only these fields, with commas between."),
    "redact": (_TEXT, "Replace the values of these fields by tokens, with commas between."),
    "redact_regex": (_TEXT, "Replace what this matches by tokens."),
    "redact_ignore_case": (_FLAG, "With redact: a field's name may differ in case."),
    "redact_in_strings": (_FLAG, "With redact: a field may be in JSON inside a string."),
    "envelope": (_FLAG, "Each event says where and when it is from. Always, of several stages."),
    "format": ({"type": "string", "enum": list(FORMATS)}, "Instead of the Accept header."),
}
_LIVE: Final = _SELECTING | {
    "duration": (_DURATION, "End after so long."),
    "last": (_DURATION, "Begin so far in the past, if the engine records the stage."),
}
_DUMP: Final = _SELECTING | {
    "last": (_TEXT, "Only the last so long (30s), or the last so many events (500)."),
}
_WRONG: Final = {
    400: "A parameter is malformed, or asks for more than is allowed.",
    401: "There is no valid token.",
    403: "The token's role does not allow it.",
    404: "There is no such engine, lane, stage or recording that can be read here.",
    405: "The method is not allowed.",
    409: "There are as many sessions or streams as are allowed.",
    414: "The URL is too long.",
    421: "The server does not go by that name.",
    502: "The engine's shared memory is damaged, or of another version.",
    503: "The engine allows no remote access, or the server cannot let anybody in.",
    507: "There is no room for another ring.",
}
_NAMED: Final = (Told, WhoAmI, Summary, PastSummary, Gap, ListedLane, RefusedLane)


@cache
def document() -> dict[str, Any]:
    """Return the document, for OpenAPI 3.1."""
    _, components = msgspec.json.schema_components(_NAMED, ref_template=_REF)
    lanes = {"type": "array", "items": {"anyOf": [_named("ListedLane"), _named("RefusedLane")]}}
    engine = [_in_path("name", "An engine's name.")]
    address = [_in_path("address", "ENGINE, a pattern of engines (web-*), ENGINE.LANE or a pid.")]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tapring serve",
            "version": __version__,
            "description": "See what running Python engines see, live.",
        },
        "security": [{"token": []}],
        "paths": {
            "/healthz": {"get": _health()},
            "/metrics": {"get": _metrics()},
            "/api/v1/whoami": {"get": _get("What the token allows.", _named("WhoAmI"))},
            "/api/v1/engines": {"get": _get("All lanes, as tapring ls --json.", lanes)},
            "/api/v1/engines/{name}": {"get": _get("The lanes of one engine.", lanes, engine)},
            "/api/v1/check": {
                "get": _get("Whether these are valid.", {"type": "object"}, _query(_LIVE))
            },
            "/api/v1/tap/{address}": {
                "get": _events("Live events.", [*address, *_query(_LIVE)], resumes=True)
            },
            "/api/v1/dump/{address}": {
                "post": _events("What recorders hold.", [*address, *_query(_DUMP)])
            },
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_REF: Final = "#/components/schemas/{name}"


def _named(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _in_path(name: str, what: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": what, "schema": schema}


def _query(parameters: dict[str, tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "description": what, "schema": schema}
        for name, (schema, what) in parameters.items()
    ]


def _wrong() -> dict[str, Any]:
    content = {"application/json": {"schema": _named("Told")}}
    return {str(code): {"description": what, "content": content} for code, what in _WRONG.items()}


def _get(
    what: str, schema: dict[str, Any], parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    answers = {"200": {"description": what, "content": content}, **_wrong()}
    return {"summary": what, "parameters": parameters or [], "responses": answers}


def _events(
    what: str, parameters: list[dict[str, Any]], *, resumes: bool = False
) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    content = {"application/x-ndjson": text, "text/event-stream": text}
    if resumes:
        schema = {"type": "string"}
        about = "The id of the last server-sent event: goes on behind it."
        last = {"name": "Last-Event-ID", "in": "header", "description": about, "schema": schema}
        parameters = [*parameters, last]
    described = (
        f"{what} A record a line: events, {{'tapring_gap': Gap}} where some are missing, and at "
        f"the end {{'tapring_summary': ...}}."
    )
    answers = {"200": {"description": described, "content": content}, **_wrong()}
    return {"summary": what, "parameters": parameters, "responses": answers}


def _health() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    answers = {"200": {"description": "It works.", "content": content}, **_wrong()}
    return {"summary": "Whether the server works.", "security": [], "responses": answers}


def _metrics() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    content = {"text/plain": text, "application/openmetrics-text": text}
    answers = {"200": {"description": "The metrics.", "content": content}, **_wrong()}
    return {"summary": "Metrics for Prometheus.", "responses": answers}
