"""The command line: a file for each group of commands. Modules of the service load as they are needed."""

from app.cli.commands import main

__all__ = ["main"]
