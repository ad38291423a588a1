"""The commands that answer: score, listen."""

from __future__ import annotations

import argparse

from .arguments import command, computing, positive, precise, seconds

RAW = ("u8", "s16le", "s24le", "s32le", "f32le", "f64le")   # live.SAMPLES, whose module would load NumPy


def add(commands) -> None:
    score = command(
        commands, "score", _score, "Score a folder of recordings into a table, or one recording for reading."
    )
    score.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="folders, recordings, or -: WAV or --raw from standard input")
    score.add_argument(
        "-o", "--output", metavar="TABLE", help="scores.csv or scores.jsonl (needed for a folder, or several sources)")
    score.add_argument(
        "--overwrite", action="store_true",
        help="begin TABLE anew, and write over --timelines that are there (default: go on where an earlier run was "
             "stopped; nothing is done twice)",
    )
    score.add_argument(
        "--timelines", metavar="PATH",
        help="also write the segments: .csv .jsonl .parquet .rttm or a Kaldi folder; of one recording also .TextGrid "
             ".eaf .vtt and .txt (Audacity)",
    )
    score.add_argument("--channels", choices=("mix", "separate"), default="mix", help="mixed, or each by itself")
    score.add_argument(
        "--turns", metavar="FILE", help="where to listen, instead of finding speech: Kaldi segments, .rttm or .csv"
    )
    score.add_argument(
        "--baseline", metavar="PATH", help="neutral speech of the one who speaks, a file or folder, to set them against"
    )
    score.add_argument(
        "--enroll", action="append", default=[], metavar="NAME=PATH",
        help="with --turns: neutral speech of the speaker of that name; may be given for each",
    )
    score.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS",
        help="on the cluster at that address, or all cores of this machine: SOURCE may also be a list (.txt), a Kaldi "
             "data directory, .tar files or an address as s3://..., TABLE is a folder of parquet parts; --threads: "
             "processes that answer; give it behind SOURCE",
    )
    score.add_argument("--raw", choices=RAW, metavar="SAMPLES", help=f"of standard input: {', '.join(RAW)}")
    score.add_argument("--rate", type=positive, metavar="HZ", help="of raw samples")
    score.add_argument("--raw-channels", type=positive, metavar="N", help="of raw samples (default: 1)")
    computing(score)
    precise(score)

    listen = command(commands, "listen", _listen, "Tell what the microphone hears, second by second, until Ctrl-C.")
    listen.add_argument("--input", metavar="DEVICE", help="number or name of the microphone (default: the system's)")
    listen.add_argument("--seconds", type=seconds, metavar="S", help="stop after so long")
    listen.add_argument("--timelines", metavar="PATH", help="write the segments at the end, as emotion score does")
    computing(listen)


def _score(options: argparse.Namespace) -> int:
    from .. import scoring

    return scoring.score(options)


def _listen(options: argparse.Namespace) -> None:
    from .. import scoring

    scoring.listen(options)
