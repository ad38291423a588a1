"""Names of emotions, and the schemes in which models are trained and scored.

Raw corpus labels live in `recipes/<corpus>/conf/labels.yaml` and become one of EMOTIONS when a data directory is
written. A scheme then maps those names to the classes of a model; a name that it does not hold is an error.
The schemes are data: schemes.txt beside this file.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

EMOTIONS = (
    "anger", "boredom", "calm", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "unknown",
)


DIMENSIONS = ("arousal", "valence", "dominance")   # what listeners rate beside, or instead of, naming an emotion


class LabelError(ValueError):
    """A label outside the vocabulary or outside the scheme."""


@dataclass(frozen=True)
class Scheme:
    """Which canonical emotions a model tells apart: `mapping` sends each accepted name to its class."""

    name: str
    mapping: Mapping[str, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs: alphabetical."""
        return tuple(sorted(set(self.mapping.values())))

    def index(self, emotion: str) -> int:
        """Output index of a canonical emotion. Raises LabelError where the scheme has no class for it."""
        if emotion not in self.mapping:
            raise LabelError(
                f"emotion {emotion!r} has no class in scheme {self.name!r}, which accepts "
                f"{', '.join(sorted(self.mapping))}. Leave these utterances out "
                "(emotion data subset --emotions ...) or choose another scheme."
            )
        return self.classes.index(self.mapping[emotion])

    def indices(self, emotions: Iterable[str]) -> list[int]:
        """Output index of each canonical emotion."""
        return [self.index(emotion) for emotion in emotions]

    def shares(self, votes: Iterable[tuple[str, int]]) -> tuple[float, ...]:
        """Share of each class in the votes of listeners; () where none of them is for an emotion that it accepts.

        Votes for an emotion that it does not accept are left out.
        """
        counts = dict.fromkeys(self.classes, 0)
        for emotion, count in votes:
            if emotion in self.mapping:
                counts[self.mapping[emotion]] += count
        total = sum(counts.values())
        return tuple(count / total for count in counts.values()) if total else ()


OWN, NONE = "own", "none"


def read_schemes(path: Path) -> dict[str, Scheme]:
    """The table of schemes: emotions on top, then in each line a scheme and its class for each; - for none."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    (_, *emotions), *rows = (line for line in lines if line and not line[0].startswith("#"))
    return {name: Scheme(name, {e: c for e, c in zip(emotions, classes) if c != "-"}) for name, *classes in rows}


SCHEMES = read_schemes(Path(__file__).with_name("schemes.txt"))


def scheme(name: str, emotions: Iterable[str] = ()) -> Scheme:
    """The scheme of that name; `own` is that of some data, in which each of its emotions is a class; `none` is for
    models of dimensions alone: all emotions are one class, `unknown`.

    emotions: those of the data.   Raises: LabelError with the nearest name, or where `own` would have no two classes.
    """
    if name == OWN:
        classes = sorted(set(emotions))
        if len(classes) < 2:
            raise LabelError(f"scheme {OWN!r} of data with {', '.join(classes) or 'no emotion'}: there is nothing to "
                             "tell apart. Train on two emotions or more.")
        return Scheme(OWN, {name: name for name in classes})
    if name == NONE:
        return Scheme(NONE, dict.fromkeys(EMOTIONS, "unknown"))
    if name not in SCHEMES:
        near = difflib.get_close_matches(name, [*SCHEMES, OWN, NONE], 1)
        hint = f"Did you mean {near[0]!r}?" if near else "Choose one of these."
        raise LabelError(f"no label scheme {name!r}; there are {', '.join(SCHEMES)}, {OWN} and {NONE}. {hint}")
    return SCHEMES[name]


def check(emotion: str) -> str:
    """The name itself if it is canonical. Raises LabelError with the nearest name."""
    if emotion not in EMOTIONS:
        near = difflib.get_close_matches(emotion, EMOTIONS, 1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else "Map it in conf/labels.yaml."
        raise LabelError(f"unknown emotion {emotion!r}; the vocabulary is {', '.join(EMOTIONS)}. {hint}")
    return emotion


def tell_apart(classes: Collection[str]) -> bool:
    """Whether a model of these classes names emotions; one of dimensions alone has `unknown` and no other."""
    return len(classes) > 1


def read_votes(text: str) -> tuple[tuple[str, int], ...]:
    """What listeners heard, in alphabetical order: (("anger", 3), ("neutral", 2)) of "neutral:2 anger:3", () of "-".

    Raises: LabelError for another form, a name outside the vocabulary, one twice, or fewer than one vote.
    """
    votes = {}
    for word in text.split() if text != "-" else ():
        emotion, _, count = word.partition(":")
        if not count.isdecimal() or int(count) < 1 or check(emotion) in votes:
            raise LabelError(f"votes {text!r} must be like anger:3 neutral:2, each emotion once. Correct {word!r}.")
        votes[emotion] = int(count)
    return tuple(sorted(votes.items()))


def write_votes(votes: Mapping[str, int] | Iterable[tuple[str, int]]) -> str:
    """The words that `read_votes` reads."""
    return " ".join(f"{emotion}:{count}" for emotion, count in sorted(dict(votes).items())) or "-"
