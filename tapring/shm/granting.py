"""What a new lane opens before its first batch: the sessions for which requests stand."""

from __future__ import annotations

import os
from time import monotonic_ns

from ..errors import DurationLimit, SessionLimit, TapError
from ..thrown_in import was_thrown_in
from ..wire import layout
from ..wire.layout import Owner, RowState
from .info import LaneInfo
from .limits import slots_in, stage_index
from .names import new_epoch
from .requests import Request, requests_for
from .rings import create_ring
from .room import check_reserve, fitting, share_of_joining
from .row import Row


def grant_requests(info: LaneInfo, owner: int) -> tuple[list[Row], list[int]]:
    """Make a row and a ring for each session that consumers want, as far as the limits allow.

    owner: the user of the lane. Returns the rows, and the epochs of the requests that could not be
    granted. Their consumers try by themselves, and are told why they cannot.
    """
    rows: list[Row] = []
    denied: list[int] = []
    try:
        for epoch, request in requests_for(info.engine):
            for stage in request.stages_of([each.name for each in info.stages]):
                try:
                    row = _row_for(info, request, stage, epoch, len(rows))
                    create_ring(info, row, owner).close()
                    rows.append(row)
                except TapError:
                    denied.append(epoch)
    except Exception as error:  # the engine has its lane whatever a request is like
        if was_thrown_in(error):
            raise
    return rows, denied


def _row_for(info: LaneInfo, request: Request, stage: str, epoch: int, index: int) -> Row:
    """Return the row of the session that a request wants of a stage.

    Raises for what the lane's limits forbid. No consumer waits for the engine to take it up: the
    first batch does.
    """
    if index == info.max_sessions:
        raise SessionLimit(f"the lane already has {index} sessions")
    longest_ns = info.max_duration_ns
    if request.duration_ns > longest_ns:
        raise DurationLimit(f"a request of {request.duration_ns} ns; the limit is {longest_ns} ns")
    size = request.buffer_bytes or fitting(info.buffer_bytes, share_of_joining())
    check_reserve(size)
    return Row(
        index=index,
        state=RowState.OPEN,
        id=index + 1,
        epoch=new_epoch(),
        stage=stage_index(info.engine, stage, [each.name for each in info.stages]),
        slots=slots_in(info.engine, size, info.slot_bytes, info.max_buffer_bytes),
        slot_bytes=info.slot_bytes,
        owner=Owner.REQUEST,
        opened_ns=monotonic_ns() - layout.TAKE_UP_NS,
        duration_ns=request.duration_ns,
        pid=os.getpid(),
        sample=request.sample,
        request=epoch,
    )
