"""What a reader sees written in a figure."""

import itertools

import matplotlib
from matplotlib.text import Text


def texts(figure) -> list[Text]:
    """What a reader sees written: visible, not empty, and inside the limits of its axis."""
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    ticks = {}
    for axes in figure.findobj(matplotlib.axes.Axes):
        for axis in (axes.xaxis, axes.yaxis):
            drawn = {id(label) for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
            shown = axes.axison and axes.get_visible()
            for tick in [*axis.majorTicks, *axis.minorTicks]:
                for label in (tick.label1, tick.label2):
                    ticks[id(label)] = shown and id(label) in drawn
            ticks[id(axis.label)] = shown
    return [text for text in found if ticks.get(id(text), True)]


def assert_readable(figure):
    """No text below 8 points and no two on top of each other (slanted ones left out)."""
    figure.draw_without_rendering()  # saving leaves the places of a cropped picture behind
    renderer = figure.canvas.get_renderer()
    upright = [text for text in texts(figure) if text.get_rotation() % 90 == 0]
    assert upright and min(text.get_fontsize() for text in texts(figure)) >= 8
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in upright]
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert width <= 0.5 or height <= 0.5, f"{one!r} lies over {other!r}"


def written(figure) -> list[str]:
    return [text.get_text() for text in texts(figure)]
