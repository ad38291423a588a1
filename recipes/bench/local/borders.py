#!/usr/bin/env python3
"""How well does a timeline find where an emotion changes? Pairs of recordings of one speaker, joined at a known time.

    local/borders.py EXP:DATA_DIR...     models, each with a data directory of speakers that it never heard

Silence at both ends of each recording is cut to 0.1 s first. Prints a Markdown row: the share of time that has the
right label, of changes found within half a second, and of borders that are such changes.
"""

import argparse
from pathlib import Path

import numpy as np

from emotion import Analyzer, audio, datadir
from emotion.timeline import SegmentConfig

RATE = 16_000
NEAR_SECONDS = 0.5


def trimmed(waveform: np.ndarray) -> np.ndarray:
    """Without what is 30 dB below its loudest moment at both ends, but for 0.1 s."""
    power = np.convolve(waveform**2, np.full(400, 1 / 400), "same")
    loud = np.flatnonzero(power > power.max() * 1e-3)
    return waveform[max(0, loud[0] - RATE // 10) : loud[-1] + RATE // 10]


def pairs(directory: str, count: int, rng: np.random.Generator) -> list[tuple[datadir.Utterance, datadir.Utterance]]:
    """That many of each speaker, of two emotions each."""
    speakers: dict[str, list[datadir.Utterance]] = {}
    for utterance in datadir.read(directory):
        speakers.setdefault(utterance.speaker, []).append(utterance)
    chosen = []
    for utterances in speakers.values():
        own: list[tuple[datadir.Utterance, datadir.Utterance]] = []
        while len(own) < count:
            first, second = (utterances[i] for i in rng.choice(len(utterances), 2, replace=False))
            if first.emotion != second.emotion:
                own.append((first, second))
        chosen += own
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="EXP:DATA_DIR")
    parser.add_argument("--pairs", type=int, default=20, help="of each speaker (default: 20)")
    parser.add_argument("--smoothing-seconds", type=float, default=SegmentConfig().smoothing_seconds)
    parser.add_argument("--shortest-seconds", type=float, default=SegmentConfig().shortest_seconds)
    options = parser.parse_args()
    rng, right, errors, borders = np.random.default_rng(0), [], [], 0
    for exp, directory in (model.rsplit(":", 1) for model in options.models):
        config = SegmentConfig(
            smoothing_seconds=options.smoothing_seconds, shortest_seconds=options.shortest_seconds
        )
        analyzer = Analyzer(Path(exp), segments=config)
        heard = {*analyzer.checkpoint.train_speakers}
        for first, second in pairs(directory, options.pairs, rng):
            if first.speaker in heard:
                raise SystemExit(f"borders.py: {exp} was trained on {first.speaker}. Give speakers it never heard.")
            parts = [trimmed(audio.read(datadir.open_wav(one), RATE)) for one in (first, second)]
            change, joined = len(parts[0]) / RATE, np.concatenate(parts)
            timeline = analyzer.analyze(joined, sample_rate=RATE)
            labels = [analyzer.checkpoint.scheme.mapping[one.emotion] for one in (first, second)]
            good = total = 0.0
            for part in timeline.segments:
                before = max(0.0, min(part.end_seconds, change) - part.start_seconds)
                after = max(0.0, part.end_seconds - max(part.start_seconds, change))
                good += before * (part.label == labels[0]) + after * (part.label == labels[1])
                total += before + after
            found = [(a.end_seconds + b.start_seconds) / 2 for a, b in zip(timeline.segments, timeline.segments[1:])
                     if a.label != b.label]
            right.append(good / total if total else 0.0)
            errors.append(min((abs(time - change) for time in found), default=np.inf))
            borders += len(found)
    near = np.mean(np.array(errors) <= NEAR_SECONDS)
    print("| smoothing, shortest (s) | pairs | time right % | changes found within 0.5 s % | borders that are such % |")
    print("|---|---|---|---|---|")
    print(f"| {options.smoothing_seconds}, {options.shortest_seconds} | {len(right)} | {100 * np.mean(right):.1f} | "
          f"{100 * near:.0f} | {100 * near * len(right) / max(1, borders):.0f} |")


if __name__ == "__main__":
    main()
