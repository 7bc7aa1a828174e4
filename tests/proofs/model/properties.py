"""The properties that must hold in every reachable state, each a function with a telling name.

A property returns None if it holds, and otherwise a message. Nothing here knows how a ring or a
table works inside. The properties only see what was offered, what was handed out, and the words.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapring.shm.row import BellOf
from tapring.token import Exclusion
from tapring.wire.ledger import Ledger


def no_frame_torn(payload: bytes, count: int, offered: Sequence[bytes]) -> str | None:
    """A frame that is handed out is a run of whole events, as they were offered."""
    for start in range(len(offered) - count + 1):
        if b"".join(offered[start : start + count]) == payload:
            return None
    return f"{payload!r} is not a run of {count} events that were offered"


def delivered_is_prefix_consistent(
    payload: bytes, count: int, place: int, offered: Sequence[bytes]
) -> str | None:
    """Events come in the order of their offers, and ``missed`` counts the gaps exactly."""
    expected = b"".join(offered[place : place + count])
    if payload == expected:
        return None
    return f"behind what was handed out and missed, {expected!r} comes next, not {payload!r}"


def resumed_at_the_very_event(first: int, released: int, handled: int | None) -> str | None:
    """The next reader gets no released event again, and skips no event that was not handled.

    All three count captured events. ``handled`` is None if a reader's death may cost a frame.
    """
    if first < released:
        return f"event {first} is handed out again, {released} were released"
    if handled is not None and first > handled:
        return f"events {handled} to {first} were handed out to nobody"
    return None


def no_overwrite_of_unread_slots(slot: int, head: int, tail: int, slots: int) -> str | None:
    """The producer never stores into a slot of a published frame that was not released."""
    unread = {position % slots for position in range(head, tail)}
    if slot in unread:
        return f"slot {slot} is stored to while the slots {head} to {tail} are unread"
    return None


def ledger_closes(ledger: Ledger, unread: int, least: int, most: int) -> str | None:
    """Offered equals delivered + unread + dropped + oversize + errors, and is the true number.

    ``unread`` events lie in the ring. Between ``least`` and ``most`` events were offered.
    """
    parts = ledger.delivered + unread + ledger.dropped + ledger.oversize + ledger.errors
    if ledger.offered != parts:
        return f"{ledger} does not close with {unread} unread"
    if not least <= parts <= most:
        return f"{ledger} says {parts}, and {least} to {most} were offered"
    return None


def nothing_unseen_at_the_end(handled: int, unread: int, captured: int) -> str | None:
    """A consumer that saw the end, and then an empty ring, has seen everything published."""
    if unread:
        return f"{unread} of {captured} events are left behind the end"
    return None if handled == captured else f"{handled} of {captured} events were seen"


def nobody_sleeps_while_something_is_there(sleep: int, unread: int, ended: int) -> str | None:
    """At rest, a consumer that sleeps (``sleep``: the number of its sleep) has nothing to read."""
    if sleep and (unread or ended):
        what = f"{unread} slots are unread" if unread else "the producer has ended"
        return f"the consumer is not woken from its sleep {sleep}, and {what}"
    return None


def posts_only_while_asked(posts: int, sleeps: int, ends: int) -> str | None:
    """A doorbell is posted at most once for each announced sleep, and once for the end."""
    if posts > sleeps + ends:
        return f"{posts} posts for {sleeps} sleeps that were announced and {ends} ends"
    return None


def nobody_is_evicted(errors: object) -> str | None:
    """Two correct ends never find each other's positions impossible."""
    return f"the producer found {errors!r}" if errors else None


def rows_are_whole(rows: Sequence[object], registered: Sequence[object]) -> str | None:
    """A stable read returns only rows that equal, in every word, one that was registered."""
    for row in rows:
        if row not in registered:
            return f"{row} was never registered"
    return None


def rows_are_of_one_moment(rows: object, generation: int, table: object) -> str | None:
    """A stable read returns the rows that the table had at that generation."""
    return None if rows == table else f"at generation {generation}: {rows}, not {table}"


def rows_are_of_some_moment(rows: object, tables: list[object]) -> str | None:
    """While an engine follows a table, it writes to sessions that the table had at one moment."""
    return None if rows in tables else f"{rows} is none of {tables}"


def no_update_is_lost(snapshot: object, table: object) -> str | None:
    """Once the table rests, the next batch is offered to exactly the sessions in the table."""
    return None if snapshot == table else f"the engine writes to {snapshot}, the table has {table}"


def the_bell_that_is_posted_hangs(hung: BellOf, posted: int, there: int) -> str | None:
    """Once the table rests, the engine posts the semaphore that has the doorbell's name.

    ``there``: which semaphore has the name; 0: none, because no consumer sleeps on it any more.
    """
    _, session, _ = hung  # 0: there is no doorbell, or its maker died half-way
    if session and there and posted != there:
        return f"the engine posts semaphore {posted}, the consumer sleeps on {there}"
    return None


def one_thread_is_inside(comes: str, there: str) -> str | None:
    """Nobody changes the sessions or writes to a ring while another thread does."""
    return f"{comes} comes in while {there} is inside" if there else None


def a_batch_is_counted_once(number: int, counted: int, times: range) -> str | None:
    """Each session counts a batch once, and whole, if its offer returned; else once or never."""
    if counted in times:
        return None
    return f"batch {number} is counted {counted} times, not {' or '.join(map(str, times))}"


def a_thread_keeps_its_order(read: Sequence[tuple[str, int]]) -> str | None:
    """A session has the batches of a thread in the order in which that thread offered them."""
    for thread in sorted({name for name, _ in read}):
        numbers = [number for name, number in read if name == thread]
        if numbers != sorted(numbers):
            return f"{thread} offered {sorted(numbers)}, and they come as {numbers}"
    return None


def what_is_asked_is_done_once(done: int, times: range) -> str | None:
    """Work that a thread asked for is done when the thread is told so, and never twice."""
    if done in times:
        return None
    return f"work that a thread asked for is done {done} times, not {' or '.join(map(str, times))}"


def nothing_stays_behind(left: int) -> str | None:
    """Once no thread is inside or on its way to look, nothing is left to do."""
    return f"{left} batches are left, and nobody will come for them" if left else None


def one_token_is_left(exclusion: Exclusion) -> str | None:
    """Once no thread is inside, one gets in, and only one."""
    token = exclusion.take()
    if token is None:
        return "nobody gets in, though nobody is inside"
    if exclusion.take() is not None:
        return "two get in at once"
    token.home.append(token)
    return None


def every_thread_ends(ended: bool) -> str | None:
    """No thread waits without a bound."""
    return None if ended else "a thread goes on and on"


def nothing_is_raised(who: str, error: object) -> str | None:
    """An offer raises nothing but what came from outside, and evicts nobody."""
    return f"{who} meets {error!r}" if error else None


def each_open_session_has_an_owner(active: int, owned: int) -> str | None:
    """The engine writes to the sessions that it has a Handle for, and to no other."""
    return None if active == owned else f"{active} sessions are open, {owned} have a Handle"


def what_is_captured_can_be_read(captured: int, read: int) -> str | None:
    """The events that the engine counts as captured are in frames that a consumer can read."""
    return None if captured == read else f"{captured} events are captured, {read} can be read"


def overwritten_only_once_announced(slot: int, oldest: int, tail: int, slots: int) -> str | None:
    """In overwrite mode, a frame's slots are stored over only after it was announced as gone."""
    position = tail + (slot - tail) % slots  # the first one from the tail on that lies in this slot
    if position - slots >= oldest:
        return f"position {position} is stored over {position - slots}; announced: {oldest}"
    return None


def past_is_where_it_says(
    payload: bytes, count: int, sequence: int, behind: int | None, offered: Sequence[bytes]
) -> str | None:
    """A frame of the past is a run of events from its number on, behind the last one."""
    expected = b"".join(offered[sequence : sequence + count])
    if payload != expected:
        return f"from event {sequence} on, {expected!r} was offered, not {payload!r}"
    if behind is not None and sequence < behind:
        return f"event {sequence} comes behind event {behind}"
    return None


def a_copy_leaves_nothing_out(sequence: int, behind: int | None) -> str | None:
    """A copy has every frame that came since the last one, unless it says that some are gone.

    ``behind``: what must come next; None if some are gone.
    """
    if behind is not None and sequence != behind:
        return f"event {sequence} comes where event {behind} must"
    return None


def what_was_not_overwritten_is_there(there: int, counted: int, unsure: int) -> str | None:
    """At rest, a reader finds every event that was published and not announced as gone.

    ``unsure``: how far the counts of a producer may be off that died while it counted.
    """
    if abs(counted - there) > unsure:
        return f"{there} events are there, {counted} were captured and not overwritten"
    return None
