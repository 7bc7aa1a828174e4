"""All contestants, by family, in the order of the table."""

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
"""The best at sending a batch as a message; compared with tapring when a size is varied."""
