"""The version of tapring, where everything that names it finds it."""

__version__ = "0.1.0"
