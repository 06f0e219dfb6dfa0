"""The command line. Command functions import what they need when they run, so that ``--help`` stays under half a second."""

from pipeline.cli.app import main

__all__ = ["main"]
