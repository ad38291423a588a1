#!/usr/bin/env python3
"""How loud must noise be for the flag `noisy`? White noise added to recordings at known ratios of signal to noise.

    local/noise.py RECORDINGS...     files or folders of clean speech; 100 of them are drawn

The ratio is that of a recording's power where it is within 30 dB of its loudest moment. Prints a Markdown row for each.
"""

import sys
from pathlib import Path

import numpy as np

from emotion import Analyzer, audio

RATE, COUNT = 16_000, 100


def main() -> None:
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    paths = [path for name in sys.argv[1:] for path in (audio.find(name) if Path(name).is_dir() else [name])]
    rng, analyzer = np.random.default_rng(0), Analyzer(device="cpu")
    waveforms = [audio.read(paths[i], RATE) for i in rng.permutation(len(paths))[:COUNT]]
    print("| dB | recordings | called noisy % | no speech found % |")
    print("|---|---|---|---|")
    for decibels in (np.inf, 20, 15, 10, 5, 0):
        flags = []
        for waveform in waveforms:
            power = np.convolve(waveform**2, np.full(400, 1 / 400), "same")
            level = np.sqrt(power[power > 1e-3 * power.max()].mean() * 10 ** (-decibels / 10))
            noisy = waveform + level * rng.standard_normal(len(waveform)).astype(np.float32)
            flags.append(analyzer.analyze(noisy, sample_rate=RATE).flags)
        called, nobody = (100 * np.mean([name in found for found in flags]) for name in ("noisy", "no_speech"))
        print(f"| {decibels} | {len(flags)} | {called:.0f} | {nobody:.0f} |", flush=True)


if __name__ == "__main__":
    main()
