#!/usr/bin/env python3
"""openSMILE functionals of every utterance of some data directories, one row each, in one npz.

The signal is what the networks hear: mono, 16 kHz. What the npz holds is not extracted again; it is written
once a minute and at the end, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emotion import audio, datadir

FEATURE_SETS = ("eGeMAPSv02", "ComParE_2016")   # as opensmile.FeatureSet calls them
SAMPLE_RATE = 16_000
SAVE_SECONDS = 60.0


@dataclass
class Table:
    """Feature vectors by utterance, beside what they were made of and with.

    Shape: rows {utterance: (audio, values (features,) float32)}.
    """

    feature_set: str
    version: str   # of opensmile
    rows: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes aside, then renames: an interrupted write leaves the table before it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        sources, values = zip(*self.rows.values())
        aside = path.with_name(path.name + ".part")
        with open(aside, "wb") as file:
            np.savez(file, feature_set=self.feature_set, version=self.version, utterances=np.array(list(self.rows)),
                     sources=np.array(sources), values=np.array(values, np.float32))
        aside.replace(path)

    @classmethod
    def read(cls, path: Path) -> Table:
        """Raises: FileNotFoundError, or ValueError for a file that `write` did not write."""
        try:
            with np.load(path, allow_pickle=False) as file:
                rows = zip(file["utterances"].tolist(), zip(file["sources"].tolist(), file["values"]))
                return cls(str(file["feature_set"]), str(file["version"]), dict(rows))
        except FileNotFoundError:
            raise FileNotFoundError(f"no such file {path}: no features yet. Run stage 1 (local/extract.py).") from None
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no table of features ({error}). Remove it and run stage 1 again.") from None

    def matrix(self, utterances: list[datadir.Utterance]) -> np.ndarray:
        """(utterances, features) float64. Raises: ValueError where an utterance was not extracted as it is now."""
        missing = [u.id for u in utterances if self.rows.get(u.id, ("",))[0] != source(u)]
        if missing:
            raise ValueError(f"no features of {datadir.few(missing)}, or of another recording. Run stage 1 again.")
        return np.array([self.rows[u.id][1] for u in utterances], np.float64)


def source(utterance: datadir.Utterance) -> str:
    """The audio of an utterance as words: another path or span is another recording."""
    span = f" {utterance.start_seconds} {utterance.stop_seconds}" if utterance.stop_seconds is not None else ""
    return f"{utterance.wav}{span}"


def extract(feature_set: str, path: Path, utterances: list[datadir.Utterance]) -> Table:
    """Adds to the table at path what it lacks.

    Raises: ImportError without opensmile, ValueError for a table made by another version of it, AudioError,
    ValueError for features that are not finite.
    """
    smile, version = extractor(feature_set)
    table = Table.read(path) if path.exists() else Table(feature_set, version)
    if (table.feature_set, table.version) != (feature_set, version):
        raise ValueError(f"{path} holds {table.feature_set} of opensmile {table.version}, not {feature_set} of "
                         f"{version}: one table, one measure. Remove it, or name another.")
    todo = [u for u in utterances if table.rows.get(u.id, ("",))[0] != source(u)]
    print(f"{path}: {len(utterances) - len(todo)} of {len(utterances)} utterances are there", flush=True)
    begin = saved = time.monotonic()
    heard = 0.0
    try:
        for number, utterance in enumerate(todo, 1):
            wav = datadir.open_wav(utterance)
            waveform = audio.read(wav, SAMPLE_RATE, utterance.start_seconds or 0.0, utterance.stop_seconds)
            values = smile.process_signal(waveform, SAMPLE_RATE).to_numpy(np.float32)[0]
            if not np.isfinite(values).all():
                raise ValueError(f"{utterance.id}: {np.sum(~np.isfinite(values))} of {len(values)} features are not "
                                 "finite: no SVM can use them. Leave it out with `emotion data subset`.")
            table.rows[utterance.id] = source(utterance), values
            heard += len(waveform) / SAMPLE_RATE
            if time.monotonic() - saved > SAVE_SECONDS:
                table.write(path)
                saved = time.monotonic()
                rate = heard / (saved - begin)
                print(f"{number} of {len(todo)} extracted, {rate:.0f} s of audio per second", flush=True)
    finally:
        if todo and table.rows:
            table.write(path)
    return table


def extractor(feature_set: str):
    """openSMILE set up for functionals of whole utterances, and its version."""
    try:
        import opensmile
    except ImportError:
        raise ImportError("the package opensmile is not installed, and `emotion` does not need it: only this recipe "
                          "does. Install it beside: pip install opensmile") from None
    level = opensmile.FeatureLevel.Functionals
    return opensmile.Smile(opensmile.FeatureSet[feature_set], level), opensmile.__version__


def main(arguments: list[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("features", choices=FEATURE_SETS)
    parser.add_argument("table", metavar="TABLE", type=Path, help="the npz to write or to continue")
    parser.add_argument("data", metavar="DATA", nargs="+", help="data directories")
    options = parser.parse_args(arguments)
    try:
        utterances = datadir.combine(map(datadir.read, options.data))
        table = extract(options.features, options.table, utterances)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"extract.py: {error}")
    size = len(next(iter(table.rows.values()))[1])
    print(f"{options.table}: {len(table.rows)} utterances, {size} features, opensmile {table.version}")


if __name__ == "__main__":
    main()
