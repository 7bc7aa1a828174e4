"""Mistakes in an engine, each on a line of its own that the type checker must refuse."""

import tapring

tapring.Tap("robot", stages={"a": "jsn"})  # type: ignore[dict-item]
tapring.Tap("robot", stages={"a": "array"})  # type: ignore[dict-item]
tapring.Tap("robot", stages=["audit"])  # type: ignore[arg-type]
tapring.Tap("robot", budget="2%")  # type: ignore[arg-type]
tapring.Tap("robot", max_session=4)  # type: ignore[call-arg]
tapring.get_tap("robot", max_session=4)  # type: ignore[call-arg]
tapring.get_tap("robot", stages={"a": "jsn"})  # type: ignore[dict-item]

tap = tapring.Tap("robot")
tap.snapshot().offer("raw", ["nobody may watch"])  # type: ignore[union-attr]
tap.register("raw").close()  # type: ignore[union-attr]

watched = tap.snapshot()
if watched:
    watched.offer("decoded", 5)  # type: ignore[arg-type]
    watched.offer("decoded", None)  # type: ignore[arg-type]
    watched.offer("decoded", {"one": "event"})  # type: ignore[arg-type]
    watched.offer("raw", {"a": 1})  # type: ignore[arg-type]
    watched.offer("raw", (line for line in ["an", "iterator"]))  # type: ignore[arg-type]
    watched.offer(["raw"], ["a line"])  # type: ignore[arg-type]
    watched.offer("raw")  # type: ignore[call-arg]
