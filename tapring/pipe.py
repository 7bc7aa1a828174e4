"""``python -m tapring.pipe`` is ``tapring pipe``."""

from .cli.pipe import main

if __name__ == "__main__":
    main()
