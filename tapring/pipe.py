"""``python -m tapring.pipe`` is ``tapring pipe``."""

from .cli import load

if __name__ == "__main__":
    load("pipe")(prog_name="python -m tapring.pipe")
