"""What data directories share that they must not: a speaker, a recording, a scripted sentence."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import audio, datadir
from .datadir import DataError, Utterance, few
from .fingerprint import SAMPLE_RATE, Fingerprint, copies, fingerprint
from .flow import available_cores


def by_speaker(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """Each speaker as a part: what two of them share, a split over speakers would tear apart."""
    parts: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        parts[utterance.speaker].append(utterance)
    return dict(parts)


def shared_speakers(parts: Mapping[str, Sequence[Utterance]]) -> list[str]:
    """A line for each two parts that share speakers."""
    speakers = {name: {u.speaker for u in utterances} for name, utterances in parts.items()}
    return [
        f"{one} and {other} share {len(both)} speakers ({few(both)}): a score on a speaker heard before says nothing "
        "about new ones. Give each speaker to one of them."
        for one, other in itertools.combinations(parts, 2) if (both := speakers[one] & speakers[other])
    ]


def shared_recordings(parts: Mapping[str, Sequence[Utterance]]) -> list[str]:
    """A line for each two parts that share recordings, whatever their format, level and surrounding silence.

    Reads all of them, on all cores: 7 s of one core for the 90 minutes of RAVDESS.
    Raises: DataError where one cannot be read.   Limits: see `fingerprint`.
    """
    everything = [(name, u) for name, utterances in parts.items() for u in utterances]
    number = {name: k for k, name in enumerate(parts)}
    with ThreadPoolExecutor(available_cores()) as pool:
        prints = list(pool.map(_fingerprint, (u for _, u in everything)))
    shared: dict[tuple[str, str], list[str]] = defaultdict(list)
    for i, j in copies(prints, [number[name] for name, _ in everything]):
        (one, mine), (other, theirs) = everything[i], everything[j]
        shared[one, other].append(f"{mine.id} is {theirs.id}")
    return [
        f"{one} and {other} share {len(pairs)} recordings ({few(pairs, 3)}): the score on them would be memory. Leave "
        "one of each two out."
        for (one, other), pairs in shared.items()
    ]


def _fingerprint(utterance: Utterance) -> Fingerprint:
    try:
        return fingerprint(audio.read(
            datadir.open_wav(utterance), SAMPLE_RATE, utterance.start_seconds or 0.0, utterance.stop_seconds
        ))
    except audio.AudioError as error:
        raise DataError(f"{utterance.id}: {error}") from None


def texts(directory: str | os.PathLike) -> set[str]:
    """The sentences of the table `text`, without case and punctuation; none where there is no such table."""
    path = Path(directory, "text")
    rows = datadir.read_table(path) if path.is_file() else ()
    return {" ".join(re.findall(r"\w+", words.casefold())) for _, words in rows} - {""}


def shared_texts(sentences: Mapping[str, set[str]]) -> list[str]:
    """A line for each two parts in which the same words are spoken."""
    return [
        f"{one} and {other} share {len(both)} sentences ({few(both, 2)}): a model may know the words instead of the "
        "emotion. Where they are scripted and each is said in every emotion it cannot; else give each to one of them."
        for one, other in itertools.combinations(sentences, 2) if (both := sentences[one] & sentences[other])
    ]


def counts(parts: Mapping[str, Sequence[Utterance]]) -> str:
    """Markdown: utterances of each class, and all of them, and speakers, in each part."""
    found = {name: Counter(u.emotion for u in utterances) for name, utterances in parts.items()}
    emotions = sorted(set().union(*found.values()))
    rows = {emotion: [classes[emotion] for classes in found.values()] for emotion in emotions}
    rows["all"] = [len(utterances) for utterances in parts.values()]
    rows["speakers"] = [len({u.speaker for u in utterances}) for utterances in parts.values()]
    lines = [f"| | {' | '.join(parts)} |", "|---|" + "---|" * len(parts)]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(map(str, cells))} |" for name, cells in rows.items())])
