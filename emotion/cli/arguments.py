"""What several commands ask for."""

from __future__ import annotations

import argparse
from collections.abc import Callable

DEVICES = "auto, cpu, cuda, cuda:1, mps (default auto)"


def command(group, name: str, run: Callable, summary: str) -> argparse.ArgumentParser:
    """A subcommand of a group of them: `run` takes its options and returns the exit code, or None for 0."""
    sub = group.add_parser(name, help=summary, description=summary)
    sub.set_defaults(run=run)
    return sub


def computing(sub: argparse.ArgumentParser, model: bool = True) -> None:
    """Adds --device and --threads, and --model where a command has no other name for it."""
    if model:
        sub.add_argument("--model", metavar="PATH", help="experiment folder or model file (default: the bundled)")
    sub.add_argument("--device", default="auto", help=DEVICES)
    sub.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: all cores)")


def precise(sub: argparse.ArgumentParser) -> None:
    """Adds --precision."""
    sub.add_argument(
        "--precision", default="float32", choices=("float32", "bfloat16"),
        help="of the network: bfloat16 is faster where the processor has it, with probabilities within 0.01 "
             "(default: float32)",
    )


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value


def numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers with commas between them") from None


def share(threads: int | None) -> None:
    """Let PyTorch share each operation among so many threads; None: as it likes."""
    if threads:
        import torch

        torch.set_num_threads(threads)
