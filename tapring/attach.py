"""``python -m tapring.attach`` is ``tapring attach``."""

from .cli import load

if __name__ == "__main__":
    load("attach")(prog_name="python -m tapring.attach")
