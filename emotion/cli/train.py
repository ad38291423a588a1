"""The commands that make a model and tell how good it is: train, calibrate, evaluate, stress, results, compare."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .arguments import command, computing, numbers, positive, share


def add(commands) -> None:
    _add_train(commands)
    _add_scores(commands)
    _add_comparisons(commands)


def _add_train(commands) -> None:
    train = command(commands, "train", _train, "Train a model; goes on where an interrupted training was.")
    train.add_argument("--conf", metavar="YAML", help="settings (default with --init: the network and features of that "
                       "model, the emotions of your data, a short training)")
    for name, what in (
        ("train", "data directory of the speakers to learn from"),
        ("valid", "data directory of the speakers who choose the epoch"),
        ("exp", "where the model goes, and all that tells how it came about"),
    ):
        train.add_argument(f"--{name}", required=True, metavar="DIR", help=what)
    train.add_argument("--seed", type=int, default=1, metavar="N", help="of weights, order, augmentation (default: 1)")
    train.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="such as fit.max_epochs=3"
    )
    train.add_argument(
        "--init", metavar="MODEL", help="start from the weights of this model; bundled: of the one in the package"
    )
    train.add_argument(
        "--teachers", nargs="+", default=[], metavar="MODEL", help="learn also what these models answer (distillation)"
    )
    train.add_argument(
        "--devices", type=positive, metavar="N",
        help="of each machine, with a process on each (default: as torchrun or srun started it, else 1)",
    )
    train.add_argument(
        "--nodes", type=positive, metavar="M", help="machines (default: as torchrun or srun started it, else 1)"
    )
    computing(train, model=False)


def _add_scores(commands) -> None:
    calibrate = command(
        commands, "calibrate", _calibrate, "Fit the temperature of a trained model on the validation speakers."
    )
    evaluate = command(
        commands, "evaluate", _evaluate, "Score the test speakers: posteriors.csv, scores.json, confusion.png."
    )
    for sub, what, who in (
        (calibrate, "experiment folder", "the validation speakers"),
        (evaluate, "experiment folder, model file or bundled", "speakers that the model never heard"),
    ):
        sub.add_argument("exp", metavar="EXP", help=what)
        sub.add_argument("directory", metavar="DATA_DIR", help=who)
        computing(sub, model=False)
    calibrate.add_argument(
        "--hold-back", type=float, metavar="SHARE", help="call this share of them, the least sure, unknown; 0: none"
    )
    evaluate.add_argument("--out", metavar="DIR", help="where the scores go (default: EXP; needed for a model file and "
                          "for bundled, the one in the package)")
    evaluate.add_argument("--allow-heard", action="store_true", help="also speakers the model was trained on")
    evaluate.add_argument(
        "--speeds", type=numbers, default=(1.0,), metavar="0.9,1,1.1",
        help="average the answers to the recordings played at these speeds (default: 1)",
    )
    evaluate.add_argument(
        "--own-statistics", action="store_true",
        help="normalise by mean and deviation of these recordings, not of the training's: posteriors_own.csv",
    )

    stress = command(commands, "stress", _stress, "Test how a model stands up to noise, lines, rooms and other voices.")
    stress.add_argument("model", metavar="MODEL", help="experiment folder, model file, bundled, or the folder with "
                        "fold*/seed*")
    stress.add_argument("directory", metavar="DATA", help="speakers that it never heard, or the folder with fold*/test")
    stress.add_argument("-o", "--output", required=True, metavar="REPORT", help="report.html or report.json")
    stress.add_argument("--seed", type=int, default=1, metavar="N", help="of the models below fold*/ (default: 1)")
    stress.add_argument("--allow-heard", action="store_true", help="also speakers that trained or validated the model")
    computing(stress, model=False)


def _add_comparisons(commands) -> None:
    results = command(commands, "results", _results, "Table of results over folds and seeds.")
    results.add_argument("roots", metavar="ROOT", nargs="+", help="folder that holds fold*/seed*/posteriors.csv")
    results.add_argument("--table", default="posteriors.csv", metavar="NAME", help="default: posteriors.csv")
    kind = results.add_mutually_exclusive_group()
    kind.add_argument(
        "--ensemble", action="store_true", help="all models of a fold answer together, of several folders too"
    )
    kind.add_argument("--rows", action="store_true", help="one row for each folder, to compare configurations")
    results.add_argument("-o", "--output", metavar="MD", help="also write the table there")

    compare = command(commands, "compare", _compare, "Is one experiment better than another, or is it the speakers?")
    for name in ("first", "second"):
        compare.add_argument(name, metavar=f"EXP{1 + (name == 'second')}",
                             help="folder that holds fold*/seed*/posteriors.csv, or posteriors.csv")
    compare.add_argument("--table", default="posteriors.csv", metavar="NAME", help="default: posteriors.csv")
    compare.add_argument("-o", "--output", metavar="MD", help="also write the comparison there")


def _train(options: argparse.Namespace) -> None:
    from .. import checkpoint
    from ..train import config, fit

    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)   # else Lightning divides the cores among the processes
    init = options.init
    if options.conf:
        settings = config.read(options.conf, options.set)
    elif init:
        settings = config.like(checkpoint.read(init), options.set)
    else:
        raise ValueError("neither --conf nor --init: what is to be trained? Give --conf YAML, or --init MODEL to go on "
                         "from one.")
    fit.train(
        settings, options.train, options.valid, options.exp, options.seed, options.device,
        init, options.teachers, options.devices, options.nodes,
    )


def _calibrate(options: argparse.Namespace) -> None:
    from ..evaluate import calibrate

    share(options.threads)
    calibrate(options.exp, options.directory, options.device, options.hold_back)


def _evaluate(options: argparse.Namespace) -> None:
    from ..evaluate import evaluate

    share(options.threads)
    evaluate(
        options.exp, options.directory, options.device, options.allow_heard, options.speeds, options.out,
        options.own_statistics,
    )


def _stress(options: argparse.Namespace) -> None:
    from .. import stress

    stress.check_path(options.output)
    result = stress.stress(
        stress.trials(options.model, options.directory, options.seed), options.device, options.threads,
        lambda text: print(text, file=sys.stderr), options.allow_heard,
    )
    stress.write(result, options.output)
    print(f"{options.output}: passed {result.passed} of {len(result.checks)} tests")


def _results(options: argparse.Namespace) -> None:
    from ..results import results, rows

    if options.rows:
        table = rows(options.roots, options.table)
    else:
        table = results(*options.roots, table=options.table, ensemble=options.ensemble)
    _say(table, options.output)


def _compare(options: argparse.Namespace) -> None:
    from .. import compare
    from ..results import CAVEATS, caveats_of

    names = options.first, options.second
    first, second = (compare.read(name, options.table) for name in names)
    lines = [compare.page(compare.compare(first, second), *names)]
    lines += [f"{name}: {CAVEATS[caveat]}" for name in names for caveat in sorted(caveats_of(name, options.table))]
    _say("\n".join(lines), options.output)


def _say(table: str, output: str | None) -> None:
    print(table)
    if output:
        Path(output).write_text(table + "\n", encoding="utf-8")
