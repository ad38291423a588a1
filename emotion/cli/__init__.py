"""The `emotion` command. Each subcommand imports what it needs when it runs: `emotion --help` answers at once."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from .. import __version__
from . import data, score, show, train

NEEDED = ("torch", "torchaudio", "safetensors")   # that a machine which only answers may lack


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand. Exit code 0: all done; 1: something failed and was named; 2: wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)   # of libraries, warnings
    logging.getLogger("emotion").setLevel(logging.INFO)
    try:
        code = options.run(options) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:   # who read, as head does, has enough; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ModuleNotFoundError) as error:
        told = " ".join(str(error).splitlines())
        if isinstance(error, ModuleNotFoundError) and error.name in NEEDED:
            told = (f"{error.name} is not installed, and this asks for it. With a model.onnx that `emotion export` "
                    "wrote, score, report and serve do without.")
        print(f"emotion {options.command}: {told}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        on = "; the same command goes on from here" if options.command == "train" else ""
        print(f"emotion {options.command}: interrupted{on}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="emotion", description="Which emotion is in speech, when, and how sure.")
    parser.add_argument("--version", action="version", version=f"emotion {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (score, show, train, data):
        group.add(commands)
    return parser
