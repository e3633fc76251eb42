"""clientip: recover the original client of every request, or say why it cannot be known."""

__version__ = "0.1.0"
