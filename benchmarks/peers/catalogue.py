"""All contestants, by family, in the order in which they are told."""

from . import fifo, files, iceoryx, logs, sockets, standard, zeromq
from .channel import Peer

PEERS: tuple[Peer, ...] = (
    *fifo.PEERS,
    *iceoryx.PEERS,
    *standard.PEERS,
    *sockets.PEERS,
    *zeromq.PEERS,
    *files.PEERS,
    *logs.PEERS,
)

BEST_BATCHED: tuple[Peer, ...] = (fifo.FASTER_FIFO, iceoryx.ICEORYX2, zeromq.PYZMQ)
"""Those that do best with a batch as a message: beside tapring where something is varied."""
