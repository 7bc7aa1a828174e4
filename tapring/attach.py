"""``python -m tapring.attach`` is ``tapring attach``."""

from .cli.attach import main

if __name__ == "__main__":
    main()
