"""Which machines need a barrier."""

from tapring.wire.ordering import needs_barrier


def test_machines_that_reorder_stores_get_a_barrier() -> None:
    assert not needs_barrier("x86_64")
    assert needs_barrier("aarch64")
    assert needs_barrier("riscv64")
