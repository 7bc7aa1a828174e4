"""Mistakes in a sidecar, each on a line of its own that the type checker must refuse."""

import msgspec

import tapring


class Order(msgspec.Struct):
    cents: int


tapring.capture("orders", wake="dorbell")  # type: ignore[call-overload]
tapring.capture("orders", delivery="exactly-once")  # type: ignore[call-overload]
tapring.capture("orders", stages="raw,decoded")  # type: ignore[call-overload]
tapring.capture("orders", timeout=5)  # type: ignore[call-overload]
tapring.capture("orders", select="level=='error'")  # type: ignore[call-overload]
tapring.capture("orders", type=Order, wake="dorbell")  # type: ignore[call-overload]
tapring.attach_session("orders:7", delivery="twice")  # type: ignore[call-overload]
tapring.attach_session("orders", "7")  # type: ignore[call-overload]

with tapring.capture("orders", type=Order) as session:
    for order in session:
        print(order.cent)  # type: ignore[attr-defined]
    lines: list[bytes] = session.read(10)  # type: ignore[assignment]
    for each in session.tagged():
        print(each.event.cents)  # type: ignore[union-attr]
    if session.ended_by == "engine-dead":  # type: ignore[comparison-overlap]
        print("never")
    if session.kind == "jsn":  # type: ignore[comparison-overlap]
        print("never")
    session.end("enough")  # type: ignore[arg-type]
