"""Sidecars: the type that ``type=`` names is the type of the events, however they are read."""

from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import msgspec

import tapring


class Order(msgspec.Struct):
    user: str
    cents: int


@dataclass
class Line:
    text: str


class Row(TypedDict):
    cents: int


def iterates() -> int:
    with tapring.capture("orders", duration=30, type=Order) as session:
        assert_type(session, tapring.Session[Order])
        for order in session:
            assert_type(order, Order)
            if order.cents > 100:
                break
        assert_type(session.read(10, timeout=1), list[Order])
        for each in session.tagged():
            assert_type(each, tapring.Tagged[Order])
            assert_type(each.event, Order | None)
        return session.stats.offered


def reads_any_type_that_msgspec_decodes() -> None:
    assert_type(tapring.capture("orders", type=Line), tapring.Session[Line])
    assert_type(tapring.capture("orders", type=Row), tapring.Session[Row])
    assert_type(tapring.capture("orders", type=dict[str, int]), tapring.Session[dict[str, int]])
    # A union is no class, so it has to be said which one it is.
    either: tapring.Session[Order | Line] = tapring.capture("orders", type=Order | Line)
    assert_type(either.read(1), list[Order | Line])


def reads_without_a_type() -> None:
    tapring.capture("orders", stages=["raw", "decoded"])
    tapring.capture("orders", stages=tapring.engines()[0].stages.keys())
    with tapring.capture("orders", stage="raw") as session:
        assert_type(session, tapring.Session[Any])
        for frame in session.frames(limit=10):
            assert_type(frame, tapring.Frame)
            assert_type(frame.payload, bytes)


def attaches() -> None:
    with tapring.attach_session("orders", 7, type=Order) as session:
        assert_type(session.read(1), list[Order])
    assert_type(tapring.attach_session("orders:7"), tapring.Session[Any])


async def shares_an_event_loop() -> None:
    async with tapring.capture("orders", type=Order) as session:
        async for order in session:
            assert_type(order, Order)
        assert_type(await session.aread(10), list[Order])
    async with tapring.attach_session("orders:7", type=Order) as attached:
        async for order in attached:
            assert_type(order, Order)


def passes_a_session_on(session: tapring.Session, orders: tapring.Session[Order]) -> None:
    """Without a parameter, a Session has events of any type; one of orders has objects, too."""
    assert_type(session.read(1), list[Any])
    objects: tapring.Session[object] = orders
    print(objects)


def chooses_words(wake: tapring.Wake, delivery: tapring.Delivery) -> tapring.EndReason | None:
    session = tapring.capture("orders", wake=wake, delivery=delivery)
    session.end("interrupt")
    if session.ended_by == "engine-death":
        print("the engine died")
    assert_type(session.wake, tapring.Wake)
    assert_type(session.kind, tapring.StageKind)
    return session.ended_by


def lists_what_runs() -> list[str]:
    listed = tapring.engines(sweep=False)
    assert_type(listed, tapring.EngineList)
    assert_type(listed.refused, tuple[tapring.LaneRefused, ...])
    return [f"{engine.name}.{engine.lane}" for engine in listed if "raw" in engine.stages]
