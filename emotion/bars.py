"""The small pictures of a report: bars of blocks, amounts, a recording's segments with its dimensions over time.

All are SVG without style attributes: the policy of the page forbids them.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .labels import tell_apart
from .page import clock, escaped
from .timeline import Segment, Timeline

LANE_HEIGHT, CURVES_HEIGHT, AMOUNT_HEIGHT = 24, 44, 5   # pixels: of a bar, of lines over time, of a small bar
MOST_POINTS = 120   # of a line: more are no more to see
TIMELINE_LETTERS, LETTERS_BESIDE = 46, 30   # that fit across a timeline where it is narrowest; beside dimensions


@dataclass(frozen=True)
class Block:
    """A part of a bar, from start over width, both in shares of it."""

    label: str
    start: float
    width: float
    title: str
    lane: int = 0


def bar(blocks: Iterable[Block], letters: int, lanes: int = 1) -> str:
    """An SVG of coloured blocks, each named where it has room."""
    drawn = []
    for block in blocks:
        label, top, height = html.escape(block.label), 100 * block.lane / lanes, 100 / lanes
        drawn.append(
            f'<rect class="{label}" x="{100 * block.start:.2f}%" y="{top:.4g}%" width="{100 * block.width:.2f}%" '
            f'height="{height:.4g}%"><title>{escaped(block.title)}</title></rect>'
        )
        if len(block.label) + 2 <= block.width * letters:
            middle = 100 * (block.start + block.width / 2)
            drawn.append(f'<text class="{label}" x="{middle:.2f}%" y="{top + height / 2:.4g}%">{label}</text>')
    return f'<svg height="{LANE_HEIGHT * lanes}"><line x2="100%" y1="50%" y2="50%"/>{"".join(drawn)}</svg>'


def timeline(answer: Timeline) -> str:
    """The segments of a recording; a lane for each speaker, as they may speak at once. Below them its dimensions."""
    speakers = list(dict.fromkeys(part.speaker for part in answer.segments))
    blocks = []
    for part in answer.segments:
        start, end = (min(1, seconds / answer.duration_seconds) for seconds in (part.start_seconds, part.end_seconds))
        title = _segment_title(part, answer)
        blocks.append(Block(part.label, start, end - start, title, speakers.index(part.speaker)))
    lanes = max(1, len(speakers))
    letters = LETTERS_BESIDE if answer.dimensions else TIMELINE_LETTERS
    lane = bar(blocks, letters if tell_apart(answer.labels) else 0, lanes)
    if answer.step_dimensions is None:
        return lane
    top = LANE_HEIGHT * lanes + 4
    return f'<svg height="{top + CURVES_HEIGHT}">{lane}{_curves(answer, answer.step_dimensions, top)}</svg>'


def _curves(answer: Timeline, ratings: np.ndarray, top: int) -> str:
    """The dimensions over time as lines, 0 below and 1 above, where somebody speaks; of many steps their means.

    Shape: ratings (steps, dimensions).   top: where they begin, in pixels.
    """
    order = np.argsort(answer.step_times, kind="stable")   # speakers at once: steps of one stand between another's
    times, ratings = answer.step_times[order], ratings[order]
    spoken = np.any([(times >= part.start_seconds) & (times < part.end_seconds) for part in answer.segments]
                    or [np.zeros(len(times), bool)], axis=0)
    gap = 1.5 * np.median(np.diff(times)) if len(times) > 1 else 0.0
    runs = np.split(np.arange(len(times)), np.flatnonzero((np.diff(times) > gap) | np.diff(spoken)) + 1)
    size = -(-len(times) // MOST_POINTS)
    lines = dict.fromkeys(answer.dimensions, "")
    for run in (run for run in runs if spoken[run].all() and run.size):
        for place in range(0, len(run), size):
            steps = run[place : place + size]
            x = f"{1000 * times[steps].mean() / answer.duration_seconds:.0f}"
            for name, value in zip(lines, ratings[steps].mean(0)):
                y = f"{100 - 100 * value:.0f}"
                lines[name] += f"L{x} {y}" if place else f"M{x} {y}h0"   # h0: a point, where no line begins
    drawn = "".join(f'<path class="{name}" d="{line}"/>' for name, line in lines.items())
    return (f'<svg class="curves" y="{top}" height="{CURVES_HEIGHT}" viewBox="0 0 1000 100" preserveAspectRatio="none">'
            f'<line x2="1000" y1="50" y2="50"/>{drawn}</svg>')


def _segment_title(part: Segment, answer: Timeline) -> str:
    speaker = "" if part.speaker is None else f"{part.speaker}: "
    times = f"{clock(part.start_seconds)} \u2013 {clock(part.end_seconds)}"
    told = [f"{part.label} {part.confidence:.2f}"] if tell_apart(answer.labels) else []
    told += [f"{name} {value:.2f}" for name, value in zip(answer.dimensions, part.dimensions)]
    return f"{times} {speaker}{', '.join(told)}"


def number(name: str, value: float, shown: str = "") -> str:
    """A cell that sorts by its value; its name is told where there are no columns."""
    return f'<td class="number" data-name="{name}" data-value="{value:.6f}">{shown or f"{value:.2f}"}</td>'


def rating(name: str, value: float) -> str:
    """The same of a dimension, with a small bar."""
    amount = f'<rect class="{name}" width="{100 * value:.2f}%" height="100%"/>'
    return number(name, value, f'{value:.2f}<svg class="amount" height="{AMOUNT_HEIGHT}">{amount}</svg>')
