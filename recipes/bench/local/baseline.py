#!/usr/bin/env python3
"""What does it gain to know how a speaker sounds when neutral? Each speaker enrolled by a few neutral recordings.

    local/baseline.py EXP:DATA_DIR...     models, each with a data directory of speakers that it never heard

The recordings of enrolment are not scored, neither with nor without it. Prints a Markdown row for each corpus, which
is the part of the speakers' names before the first digit or capital.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from emotion import Analyzer, datadir, metrics
from emotion.evaluate import timelines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="EXP:DATA_DIR")
    parser.add_argument("--recordings", type=int, default=3, help="of neutral speech for each speaker (default: 3)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    # by corpus: (class, probabilities without, probabilities with)
    answers: defaultdict[str, list[tuple[int, np.ndarray, np.ndarray]]] = defaultdict(list)
    for exp, directory in (model.rsplit(":", 1) for model in options.models):
        analyzer = Analyzer(Path(exp))
        speakers = defaultdict(list)
        for utterance in datadir.read(directory):
            speakers[utterance.speaker].append(utterance)
        for speaker, utterances in speakers.items():
            if speaker in analyzer.checkpoint.train_speakers:
                raise SystemExit(f"baseline.py: {exp} was trained on {speaker}. Give speakers it never heard.")
            neutral = [utterance for utterance in utterances if utterance.emotion == "neutral"]
            enrolled = [neutral[i] for i in rng.permutation(len(neutral))[: options.recordings]]
            analyzer.enroll(speaker, [str(utterance.wav) for utterance in enrolled])
            scored = [utterance for utterance in utterances if utterance not in enrolled]
            paths = [str(utterance.wav) for utterance in scored]
            corpus = re.split(r"[\dA-Z]", speaker)[0]
            without = [answer.probabilities for answer in timelines(scored, analyzer)]
            known = [answer.probabilities for answer in analyzer.analyze(paths, speaker=speaker)]
            answers[corpus] += zip(analyzer.checkpoint.scheme.indices(u.emotion for u in scored), without, known)
    print("| corpus | utterances | UAR % without | with | NLL without | with |")
    print("|---|---|---|---|---|---|")
    for corpus, rows in answers.items():
        targets, *both = (np.array(column) for column in zip(*rows))
        uars = [100 * metrics.uar(targets, table.argmax(1)) for table in both]
        nlls = [metrics.nll(targets, table) for table in both]
        print(f"| {corpus} | {len(targets)} | {uars[0]:.1f} | {uars[1]:.1f} | {nlls[0]:.3f} | {nlls[1]:.3f} |")


if __name__ == "__main__":
    main()
