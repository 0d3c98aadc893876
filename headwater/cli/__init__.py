"""The ``headwater`` command: what a person or a script types.

Each command is a thin layer over the library, in a module of its own. Heavy imports stay inside the commands, so
that ``headwater --help`` answers at once.
"""

from headwater.cli.app import app, main

__all__ = ["app", "main"]
