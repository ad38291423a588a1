"""Pictures worth printing: confusion, reliability, and a recording with its emotions. Those of a training: curves.

Each function saves to path (the suffix chooses PNG, PDF or SVG; an open binary file gets PNG) and returns the
Figure, with its title above where one is given.
Figures are made as objects, never through pyplot, so no window opens and nobody's settings change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import files, metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .timeline import Timeline

# Paul Tol's "muted" scheme (personal.sron.nl/~pault): ten colours that stay apart for colour-blind eyes.
COLOURS = {
    "anger": "#882255", "boredom": "#999933", "calm": "#88CCEE", "disgust": "#117733", "fear": "#AA4499",
    "happiness": "#DDCC77", "neutral": "#44AA99", "sadness": "#332288", "surprise": "#CC6677",
    "unknown": "#DDDDDD",
}
BEFORE, AFTER = "#D55E00", "#0072B2"  # vermilion and blue of Okabe and Ito
INK, GREY = "#222222", "#8A8A8A"
LINES = {"arousal": AFTER, "valence": BEFORE, "dominance": "#009E73"}   # Okabe and Ito's, on white or black
MOST_COLUMNS = 4000  # more than a picture has pixels across: a day of sound draws as fast as an hour
FEWEST_PIXELS = 20   # no name is narrower
TIME_STEPS = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 24 * 3600)   # seconds between ticks
FEW_COLUMNS = 240   # that an eye still tells apart, where more would flicker

ENDINGS = (".png", ".pdf", ".svg", ".svgz", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".eps", ".ps", ".pgf")

Output = str | os.PathLike | BinaryIO


def confusion(matrix: ArrayLike, labels: Sequence[str], path: Output, title: str | None = None) -> Figure:
    """Confusion matrix: each row in percent of its true class, the number of utterances below in brackets.

    A class without utterances has an empty row.

    Shape:  matrix (classes, classes) counts, rows true, columns predicted.
    Raises: ValueError if the matrix and the labels differ in size.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"a matrix of shape {counts.shape} for {len(labels)} labels: it must be square, "
                         "one row a label, or cells get the wrong names. Pass the labels the scores were "
                         "made with.")
    totals = counts.sum(axis=1, keepdims=True)
    percent = np.divide(100 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    side = 2.6 + 0.72 * len(labels)
    figure = new_figure(side + 0.5, side)
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(percent):
        if np.isfinite(share):
            axes.text(column, row - 0.12, f"{share:.0f}", ha="center", va="center", fontsize=13,
                      color="white" if share > 55 else INK)
            axes.text(column, row + 0.25, f"({counts[row, column]})", ha="center", va="center", fontsize=8.5,
                      color="white" if share > 55 else INK)
    axes.set_xticks(range(len(labels)), labels, fontsize=11, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels, fontsize=11)
    axes.set_xticks(np.arange(1, len(labels)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(labels)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=12)
    axes.set_ylabel("true", fontsize=12)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=25, pad=0.03)
    bar.set_label("percent of the true class (count)", fontsize=10)
    bar.outline.set_visible(False)
    return save(figure, path, title)


def reliability(targets: ArrayLike, probabilities: ArrayLike, path: Output,
                calibrated: ArrayLike | None = None, title: str | None = None) -> Figure:
    """Share right against confidence, before and after calibration; on the diagonal it means what it says.

    A dot's area follows the utterances in its bin, as a bin of three says little; below, how they are spread.

    Shape:  targets (n,), probabilities and calibrated (n, classes).
    Raises: ValueError as metrics.reliability_bins does.
    """
    series = [("before" if calibrated is not None else "model", probabilities, BEFORE, "o", "--")]
    if calibrated is not None:
        series.append(("after", calibrated, AFTER, "s", "-"))
    figure = new_figure(5.5, 7.4)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 0.28))
    top.set_box_aspect(1)
    below.set_box_aspect(0.28)
    top.plot([0, 100], [0, 100], color=GREY, linestyle=":", linewidth=1.5)
    width = 100 / 15 / len(series)
    for place, (name, scores, colour, marker, style) in enumerate(series):
        confidence, right, counts = metrics.reliability_bins(targets, scores, bins=15)
        share, held = 100 * counts / counts.sum(), counts > 0
        label = f"{name}: ECE {100 * metrics.ece(targets, scores, bins=15):.1f} %"
        top.plot(100 * confidence[held], 100 * right[held], style, color=colour, linewidth=1.2)
        top.scatter(100 * confidence[held], 100 * right[held], s=12 + 8 * share[held], color=colour,
                    marker=marker, alpha=0.85, linewidths=0, clip_on=False, zorder=3, label=label)
        below.bar(np.arange(15) * 100 / 15 + (place + 0.5) * width, share, 0.9 * width, color=colour)
    legend = top.legend(fontsize=11, frameon=False, loc="upper left")
    for handle in legend.legend_handles:
        handle.set_sizes([50])
    top.set(xlim=(0, 100), ylim=(0, 100))
    plain(top, ylabel="share right (%)")
    plain(below, ylabel="utterances (%)", xlabel="confidence (%)")
    return save(figure, path, title)


def recording(waveform: ArrayLike, sample_rate: int, mel: ArrayLike, hop_seconds: float, timeline: Timeline,
              path: Output, title: str | None = None, f0_hz: ArrayLike | None = None) -> Figure:
    """Waveform, log-mel, pitch, dimensions and emotions of one recording, one above the other on the same time axis.

    The bar above the emotions holds the segments, named where a name fits; the colours are those of COLOURS. Where
    nobody speaks the emotions are pale. A long recording is drawn in columns: of the waveform its extremes, of the
    pitch the middle and where eight in ten values lie, of dimensions and emotions their mean while somebody speaks
    and, in the bar, the one that holds longest. Of a model of dimensions alone no emotions are drawn.

    Shape:  waveform (samples,), mel (frames, bands) in natural log, frame i centred at i * hop_seconds; f0_hz (frames,)
            in Hz, 0 where unvoiced.
    Raises: ValueError for other shapes, or a label that has no colour.
    """
    waveform, mel = np.asarray(waveform), np.asarray(mel)
    if waveform.ndim != 1 or mel.ndim != 2 or not waveform.size or not mel.size:
        raise ValueError(f"waveform {waveform.shape} and mel {mel.shape} must be (samples,) and (frames, "
                         "bands), not empty: other axes would be drawn as time. Pass one channel of one "
                         "recording.")
    colourless = [label for label in timeline.labels if label not in COLOURS]
    if colourless:
        raise ValueError(f"no colour for {', '.join(colourless)}; there are colours for "
                         f"{', '.join(COLOURS)}: two pictures could not be compared by eye. Map the labels "
                         "to these names.")
    has_classes = not timeline.dimensions or tuple(timeline.labels) != ("unknown",)
    parts = ((0.9, f0_hz is not None), (0.9, bool(timeline.dimensions)), (1.7, has_classes))
    heights = (1, 1.5, *(height for height, is_there in parts if is_there))
    figure = new_figure(9.0, 1.57 * sum(heights))
    grid = figure.add_gridspec(len(heights), 2, width_ratios=(1, 0.14), height_ratios=heights)
    wave = figure.add_subplot(grid[0, 0])
    spectrum, *below = (figure.add_subplot(grid[row, 0], sharex=wave) for row in range(1, len(heights)))
    _draw_waveform(wave, waveform, sample_rate)
    if f0_hz is not None:
        _draw_pitch(below[0], np.asarray(f0_hz), hop_seconds)
    image = _draw_mel(spectrum, mel, hop_seconds)
    side = figure.add_subplot(grid[1, 1])
    side.set_axis_off()
    figure.colorbar(image, cax=side.inset_axes((0, 0.05, 0.12, 0.9))).set_label("log power", fontsize=10)
    told = _told(timeline)
    if timeline.dimensions:
        row = -2 if has_classes else -1
        lines = _draw_dimensions(below[row], told, timeline)
        _legend(figure.add_subplot(grid[row, 1]), lines, list(timeline.dimensions))
    if has_classes:
        handles = _draw_emotions(below[-1], told, timeline)
        _legend(figure.add_subplot(grid[-1, 1]), handles[::-1], timeline.labels[::-1])
    for axes in (wave, spectrum, *below[:-1]):
        axes.tick_params(labelbottom=False)
    wave.set_xlim(0, timeline.duration_seconds)
    below[-1].set_xlabel("time (s)", fontsize=11)
    _name_times(below[-1], timeline.duration_seconds)
    figure.align_ylabels((wave, spectrum, *below))
    figure.draw_without_rendering()  # settles the layout: whether a name fits is known only then
    if has_classes:
        _name_segments(below[-1], told.bars)
    return save(figure, path, title)


def _draw_waveform(axes: Axes, waveform: np.ndarray, sample_rate: int) -> None:
    # The envelope of a long waveform, because a line through every sample is a slow way to the same pixels.
    starts = _columns(len(waveform))
    low, high = (np.append(bound, bound[-1])
                 for bound in (np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)))
    times = np.append(starts, len(waveform)) / sample_rate
    axes.fill_between(times, low, high, step="post", color=INK, linewidth=0.4)
    top = 1.1 * max(float(np.abs(waveform).max()), 1e-3)
    axes.set_ylim(-top, top)
    plain(axes, ylabel="amplitude")


def _draw_mel(axes: Axes, mel: np.ndarray, hop_seconds: float):
    starts = _columns(len(mel))
    widths = np.diff(np.append(starts, len(mel)))
    means = np.add.reduceat(mel, starts, axis=0) / widths[:, None]
    top = float(means.max())
    extent = (-hop_seconds / 2, (len(mel) - 0.5) * hop_seconds, -0.5, mel.shape[1] - 0.5)
    image = axes.imshow(means.T, origin="lower", aspect="auto", cmap="magma", extent=extent, vmax=top,
                        vmin=max(float(means.min()), top - 14))  # 14 nats are 61 dB; below is the room
    plain(axes, ylabel="mel band")
    return image


def _draw_pitch(axes: Axes, f0_hz: np.ndarray, hop_seconds: float) -> None:
    is_long = len(f0_hz) > MOST_COLUMNS
    starts = _columns(len(f0_hz), FEW_COLUMNS if is_long else MOST_COLUMNS)
    voiced = [part[part > 0] for part in np.split(f0_hz, starts[1:])]
    low, middle, high = np.transpose([np.percentile(p, (10, 50, 90)) if len(p) else 3 * [np.nan] for p in voiced])
    times = hop_seconds * (starts + np.diff(np.append(starts, len(f0_hz))) // 2)
    if is_long:
        axes.fill_between(times, low, high, color=AFTER, alpha=0.25, linewidth=0)
    axes.plot(times, middle, color=AFTER, linewidth=1.2, marker=".", markersize=2)
    axes.set_yscale("log")
    axes.set_ylim(55, 550)
    axes.set_yticks((75, 150, 300), ("75", "150", "300"))
    axes.minorticks_off()
    plain(axes, ylabel="F0 (Hz)")


def _name_times(axes: Axes, duration_seconds: float) -> None:
    """Minutes and hours where seconds alone would be hard to read."""
    if duration_seconds < 120:
        return
    hours = duration_seconds >= 3600
    step = next((s for s in TIME_STEPS if duration_seconds / s <= 8), TIME_STEPS[-1] * np.ceil(duration_seconds / 7e5))
    ticks = np.arange(0, duration_seconds + 1e-6, step)
    axes.set_xticks(ticks, [
        f"{t // 3600:.0f}:{t % 3600 // 60:02.0f}" if hours else f"{t // 60:.0f}:{t % 60:02.0f}" for t in ticks
    ])
    axes.set_xlabel("time (h:min)" if hours else "time (min:s)", fontsize=11)


class Told(NamedTuple):
    """What is drawn of a timeline: times (n,), shares (n, classes), bars of (start, end, label) in seconds, and
    dimensions (n, dimensions)."""

    times: np.ndarray
    shares: np.ndarray
    bars: list[tuple[float, float, str]]
    dimensions: np.ndarray


def _told(timeline: Timeline) -> Told:
    """All of a timeline; of a long one columns: means while somebody speaks, and the label that holds longest."""
    times, shares = np.asarray(timeline.step_times), np.asarray(timeline.step_probabilities)
    rated = np.empty((len(times), 0)) if timeline.step_dimensions is None else np.asarray(timeline.step_dimensions)
    if len(times) <= MOST_COLUMNS:
        return Told(times, shares, [(s.start_seconds, s.end_seconds, s.label) for s in timeline.segments], rated)
    names = sorted({segment.label for segment in timeline.segments})
    held = np.zeros((len(times), len(names)))   # by which label each step is
    for segment in timeline.segments:
        first, last = np.searchsorted(times, (segment.start_seconds, segment.end_seconds))
        held[first:last, names.index(segment.label)] = 1
    starts = _columns(len(times), FEW_COLUMNS)
    ends = np.append(starts[1:], len(times))
    spoken = np.asarray(held.any(1))
    both = np.hstack([shares, rated])
    means = [both[a:b][spoken[a:b] if spoken[a:b].any() else slice(None)].mean(0) for a, b in zip(starts, ends)]
    shares, rated = np.split(np.array(means), [shares.shape[1]], axis=1)
    edges = [0.0, *times[starts[1:]].tolist(), timeline.duration_seconds]
    bars: list[tuple[float, float, str]] = []
    for column, votes in enumerate(np.add.reduceat(held, starts, axis=0)):
        if votes.any():
            start, end, label = edges[column], edges[column + 1], names[votes.argmax()]
            if bars and bars[-1][1:] == (start, label):
                start = bars.pop()[0]
            bars.append((start, end, label))
    return Told(times[(starts + ends - 1) // 2], shares, bars, rated)


def _draw_dimensions(axes: Axes, told: Told, timeline: Timeline) -> list:
    lines = [axes.plot(told.times, values, color=LINES[name], linewidth=1.2)[0]
             for name, values in zip(timeline.dimensions, told.dimensions.T)]
    axes.broken_barh(_silences(told.bars, timeline.duration_seconds), (0, 1), facecolors="white", alpha=0.8,
                     linewidth=0, zorder=3)
    axes.set_ylim(0, 1)
    axes.set_yticks((0, 0.5, 1))
    plain(axes, ylabel="rating")
    return lines


def _legend(side: Axes, handles: Sequence, names: Sequence[str]) -> None:
    """Names beside what is drawn."""
    side.set_axis_off()
    side.legend(handles, names, fontsize=10, frameon=False, loc="center left", borderpad=0, borderaxespad=0,
                handlelength=1.2)


def _draw_emotions(axes: Axes, told: Told, timeline: Timeline) -> list:
    colours = [COLOURS[label] for label in timeline.labels]
    (times, shares, bars, _), end = told, timeline.duration_seconds
    half = np.diff(times).mean() / 2 if len(times) > 1 else end  # a step reaches half way to the next
    times = np.concatenate([times[:1] - half, times, times[-1:] + half]).clip(0, end)
    shares = np.concatenate([shares[:1], shares, shares[-1:]])
    handles = axes.stackplot(times, 100 * shares.T, colors=colours, edgecolor="white", linewidth=0.5)
    axes.broken_barh([(start, stop - start) for start, stop, _ in bars], (106, 18),
                     facecolors=[COLOURS[label] for _, _, label in bars], linewidth=0)
    axes.broken_barh(_silences(bars, end), (0, 100), facecolors="white", alpha=0.8, linewidth=0, zorder=3)
    axes.set_ylim(0, 126)
    axes.set_yticks(range(0, 101, 25))
    plain(axes, ylabel="probability (%)")
    axes.spines["left"].set_bounds(0, 100)
    axes.yaxis.label.set_y(50 / 126)
    return handles


def _silences(bars: Sequence[tuple[float, float, str]], end_seconds: float) -> list[tuple[float, float]]:
    """Where nobody speaks, as (start, length) in seconds."""
    starts = [0.0, *(end for _, end, _ in bars)]
    ends = [*(start for start, _, _ in bars), end_seconds]
    return [(start, end - start) for start, end in zip(starts, ends) if end > start]


def _name_segments(axes: Axes, bars: Sequence[tuple[float, float, str]]) -> None:
    """Writes each segment's name into its bar where it fits."""
    canvas: Any = axes.figure.canvas   # Agg's
    renderer = canvas.get_renderer()
    for start, end, label in bars:
        left, right = axes.transData.transform([(start, 0), (end, 0)])[:, 0]
        if right - left < FEWEST_PIXELS:
            continue
        red, green, blue = (int(COLOURS[label][place:place + 2], 16) for place in (1, 3, 5))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 125
        text = axes.text((start + end) / 2, 115, label, fontsize=9,
                         ha="center", va="center_baseline", color="white" if dark else INK, clip_on=True)
        if text.get_window_extent(renderer).width > right - left - 6:
            text.remove()


def _columns(length: int, most: int = MOST_COLUMNS) -> np.ndarray:
    """First index of each of at most so many equal parts of a sequence."""
    return np.unique(np.linspace(0, length, min(length, most), endpoint=False).astype(int))


def new_figure(width: float, height: float) -> Figure:
    """An empty picture of so many inches, in the style of all of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)  # draws into memory, and measures text
    return figure


def plain(axes: Axes, ylabel: str, xlabel: str | None = None) -> None:
    """Names the axes, and takes away the frame on top and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.set_ylabel(ylabel, fontsize=11)
    if xlabel:
        axes.set_xlabel(xlabel, fontsize=11)


def check_path(path: str | os.PathLike) -> Path:
    """The path itself. Raises ValueError where its ending is no picture's, or no file can be made there."""
    return files.check_output(path, ENDINGS, "the ending chooses the format")


def save(figure: Figure, path: Output, title: str | None) -> Figure:
    """Writes the picture, and hands it back."""
    if title:  # a file's name may hold a dollar sign, which is not mathematics here
        figure.axes[0].set_title(title, fontsize=13, pad=10, parse_math=False)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.12)  # a title wider than the picture widens it
    return figure
