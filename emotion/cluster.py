"""Scoring on all cores of a cluster, by Ray Data: some processes read, others hold a model and answer.

    entries -> parts of 256 recordings -> read, resample (tasks) -> Analyzer (actors) -> FOLDER/part-<hash>.parquet

Ray holds reading back where the models fall behind, and does again what a killed process had begun. A part takes its
name once it is whole; a later call scores what no part holds, with the same model only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import checkpoint, files, scores
from .analyzer import Analyzer, FileError
from .audio import AudioError
from .listing import entries
from .windows import Recording

META, MODEL, LOCK = "_meta.json", "_model", "_lock"   # what begins so is no part to who reads the folder as a table
LONGEST_SECONDS = 3600.0   # of a recording: a part is in memory as a whole
READER_CORES, SCORER_CORES = 0.15, 0.85   # reading takes about a seventh of the time, so a core does both


@dataclass(frozen=True)
class Told:
    """A part that was scored."""

    recordings: int
    seconds: float
    failed: int


def score(
    source: str | os.PathLike, folder: str | os.PathLike, model: str | os.PathLike | None = None, device: str = "auto",
    address: str | None = None, part_size: int = 256, actors: int | None = None,
) -> Iterator[Told]:
    """Score what `listing.entries` finds into parquet parts in a folder that all machines see; consume it to the end.

    A row has the columns of `emotion score` and `error`, which says why a recording has no answer.
    address: of a Ray cluster; None: the one that runs, or all cores of this machine.
    actors: processes that hold the model; None: one for each GPU or else core.
    Raises: ValueError where the folder holds parts of another model, BusyError where another run writes there; what
        `entries` raises.
    """
    ray = _ray()
    folder, model = Path(folder).absolute(), checkpoint.located("bundled" if model is None else model)
    analyzer = Analyzer(model, "cpu")
    folder.mkdir(parents=True, exist_ok=True)
    with files.alone(folder / LOCK):   # a second run would cut what is left into other parts
        model = _agreed(folder, analyzer, model)
        scored = _scored(folder)
        left = [entry for entry in entries(source) if _text(entry.name) not in scored]
        parts = [left[i : i + part_size] for i in range(0, len(left), part_size)]
        if not parts:
            return
        if not ray.is_initialized():
            try:
                ray.init(
                    address, include_dashboard=None if address else False, log_to_driver=False, logging_level="error"
                )
            except Exception as error:   # Ray's own are of this class too
                raise OSError(f"Ray does not answer at {address or 'this machine'} ({' '.join(str(error).split())}). "
                              "See that it runs and has room (ray status), and try again.") from error
        _drop_failed(folder)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        on_gpu = device.startswith("cuda") or device == "auto" and ray.cluster_resources().get("GPU", 0) > 0
        room = {"num_gpus": 1} if on_gpu else {"num_cpus": SCORER_CORES}
        most = int(ray.cluster_resources()["GPU" if on_gpu else "CPU"])
        rows = [{"entries": pickle.dumps(part)} for part in parts]
        told = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .map(_read, fn_args=(analyzer.sample_rate,), num_cpus=1 if on_gpu else READER_CORES)
            .map(
                _Scorer, fn_constructor_args=(os.fspath(model), device, os.fspath(folder)),
                concurrency=max(1, min(actors or most, most, len(parts))), **room,
            )
        )
        for row in told.iter_rows():
            yield Told(**row)


class _Scorer:
    """An actor: answers parts and writes them."""

    def __init__(self, model: str, device: str, folder: str):
        self._analyzer, self._folder = Analyzer(model, device, threads=1), Path(folder)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        part = pickle.loads(row["heard"])
        heard = (Recording(name, partial(list, [waveform])) for name, waveform, error in part if not error)
        answers = {answer.name: answer for answer in self._analyzer.run(heard)}
        told = [_row(name, answers.get(name), error) for name, _, error in part]
        _write(self._folder, told, scores.columns(self._analyzer.labels, dimensions=self._analyzer.dimensions))
        seconds = sum(answer.duration_seconds for answer in answers.values() if not isinstance(answer, FileError))
        return {"recordings": len(told), "seconds": seconds, "failed": sum(bool(row["error"]) for row in told)}


def _read(row: dict[str, Any], sample_rate: int) -> dict[str, Any]:
    """Entries in, (name, waveform, error) out, pickled: Arrow would copy what is unequally long."""
    heard = []
    for entry in pickle.loads(row["entries"]):
        try:
            waveform, error = entry.read(sample_rate), ""
            if len(waveform) > LONGEST_SECONDS * sample_rate:
                waveform, error = None, "is longer than an hour. Score it by itself, with emotion score."
        except AudioError as failure:
            waveform, error = None, f"{failure.reason}. {failure.remedy}"
        heard.append((entry.name, waveform, error))
    return {"heard": pickle.dumps(heard)}


def _row(name: str, answer, error: str) -> dict[str, Any]:
    if isinstance(answer, FileError):
        error = answer.reason
    if error:
        return {"path": name, "error": error}
    return {**scores.row(answer), "error": ""}


def _write(folder: Path, rows: Sequence[dict], names: Sequence[str]) -> None:
    import pyarrow as arrow

    text = {"path", "label", "flags", "error"}
    columns = {
        name: arrow.array([None if name not in row else told(row[name]) for row in rows], kind)
        for name in (*names, "error")
        for told, kind in [(_text, arrow.string()) if name in text else (float, arrow.float64())]
    }
    _put(arrow.table(columns), folder / f"part-{_key([row['path'] for row in rows])}.parquet")


def _put(table, path: Path) -> None:
    from pyarrow import parquet

    aside = path.with_name(f".{path.name}.{os.getpid()}")
    parquet.write_table(table, aside)
    with open(aside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)


def _text(name: str) -> str:
    """A file name need not be UTF-8, a column of text is."""
    return name.encode("utf-8", "backslashreplace").decode()


def _key(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _agreed(folder: Path, analyzer: Analyzer, model: Path) -> Path:
    """The model beside its parts, where all machines find it. Raises: ValueError where another one has begun."""
    meta = {"model": analyzer.fingerprint, "labels": list(analyzer.labels)}
    path, kept = folder / META, folder / f"{MODEL}{model.suffix}"
    if path.exists():
        try:
            other = json.loads(path.read_text(encoding="utf-8"))["model"]
        except (ValueError, LookupError, TypeError):
            raise ValueError(f"{path} is damaged, and nothing else tells which model made the parts there. Give "
                             "another folder; or remove that file, if you know that it was this model.") from None
        if other != meta["model"]:
            raise ValueError(f"{folder} holds scores of the model {other}, and this one is {meta['model']}: the table "
                             "would mix both. Give another folder.")
    with files.renamed(kept) as aside:
        shutil.copyfile(model, aside)
    if not path.exists():
        with files.whole(path) as file:
            json.dump(meta, file)
    return kept


def _scored(folder: Path) -> set[str]:
    """Names with an answer in parts; whether their recordings have changed is not asked."""
    from pyarrow import compute, parquet

    names: set[str] = set()
    for path in folder.glob("part-*.parquet"):
        table = parquet.read_table(path, columns=["path", "error"])
        names.update(table["path"].filter(compute.equal(table["error"], "")).to_pylist())
    return names


def _drop_failed(folder: Path) -> None:
    """Takes what failed out of the parts, as it is tried again now: it may be there or whole."""
    from pyarrow import compute, parquet

    for path in folder.glob("part-*.parquet"):
        told = compute.equal(parquet.read_table(path, columns=["error"])["error"], "")
        if not compute.all(told).as_py():
            _put(parquet.read_table(path).filter(told), path)


def _ray():
    try:
        import ray.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is not installed: pip install 'emotion[ray]'") from None
    return ray
