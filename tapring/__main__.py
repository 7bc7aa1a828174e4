"""``python -m tapring`` is ``tapring``."""

from .cli import main

main(prog_name="tapring")
