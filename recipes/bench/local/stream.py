#!/usr/bin/env python3
"""What a stream costs and how late it tells: blocks of half a second, one thread, windows of the offline and live kind.

    local/stream.py RECORDING        a minute or more
"""

import argparse
import time

import torch

from emotion import Analyzer, audio
from emotion.windows import WindowConfig

WINDOWS = (WindowConfig(), WindowConfig(length_seconds=4.0, hop_seconds=1.0))   # of analyze, of `emotion listen`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| window, hop (s) | a moment is told after (s) | stream: ms of processor a second | offline |")
    print("|---|---|---|---|")
    for windows in WINDOWS:
        analyzer = Analyzer(device="cpu", windows=windows)
        waveform = audio.read(options.recording, analyzer.sample_rate)
        block, seconds = analyzer.sample_rate // 2, len(waveform) / analyzer.sample_rate
        analyzer.analyze(waveform[: 15 * analyzer.sample_rate], sample_rate=analyzer.sample_rate)   # loads all
        stream, started = analyzer.stream(analyzer.sample_rate), time.process_time()
        for start in range(0, len(waveform), block):
            stream.feed(waveform[start : start + block])
        stream.close()
        live, started = time.process_time() - started, time.process_time()
        analyzer.analyze(waveform, sample_rate=analyzer.sample_rate)
        offline = time.process_time() - started
        print(f"| {windows.length_seconds:g}, {windows.hop_seconds:g} | {stream.delay_seconds:.1f} | "
              f"{1000 * live / seconds:.1f} | {1000 * offline / seconds:.1f} |")


if __name__ == "__main__":
    main()
