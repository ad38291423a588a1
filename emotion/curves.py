"""How a training went, as a picture: loss, recall, concordance and learning rate over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .plot import AFTER, BEFORE, GREY, INK, Output, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("epoch", "train_loss", "valid_loss", "learning_rate")
SCORES = {   # at least one of them: what its axis and its mark say, and by how much it is multiplied there
    "valid_uar": ("validation UAR (%)", "UAR {:.1f} %", 100), "valid_ccc": ("validation CCC", "CCC {:.3f}", 1),
}


def draw(rows: Sequence[Mapping], path: Output, best_epoch: int | None = None, title: str | None = None) -> Figure:
    """Training and validation loss, scores of SCORES and learning rate over epochs, the best epoch marked.

    Rows are those of csv.DictReader; an epoch may be spread over rows with blanks, its last values count.
    best_epoch is the epoch that was kept; without it the first of the highest validation UAR, or CCC where there are
    no classes.

    Raises: ValueError for no rows, a column of COLUMNS or all scores nowhere, or a best_epoch that is in no row.
    """
    columns = _by_epoch(rows)
    epochs, scores = columns["epoch"], [name for name in SCORES if name in columns]
    if best_epoch is None and np.isfinite(columns[scores[0]]).any():
        best_epoch = int(epochs[np.nanargmax(columns[scores[0]])])
    if best_epoch is not None and best_epoch not in epochs:
        raise ValueError(f"best_epoch={best_epoch} must be one of the {len(epochs)} epochs from "
                         f"{epochs[0]:.0f} to {epochs[-1]:.0f}: a mark elsewhere would mislead. Pass the "
                         "epoch that was kept.")
    heights = (3, *(3 for _ in scores), 1.5)
    figure = new_figure(7.5, sum(heights))
    loss, *panels, rate = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    dots = {"marker": "o" if len(epochs) <= 40 else None, "markersize": 3.5}
    for name, colour, style in (("train", BEFORE, "--"), ("valid", AFTER, "-")):
        loss.plot(epochs, columns[f"{name}_loss"], style, color=colour, label=name, **dots)
    rate.plot(epochs, columns["learning_rate"], color=INK, **dots)
    for axes, score in zip(panels, scores):
        name, mark, scale = SCORES[score]
        axes.plot(epochs, scale * columns[score], color=AFTER, **dots)
        plain(axes, ylabel=name)
        if best_epoch is not None:
            kept = scale * columns[score][epochs == best_epoch][0]
            axes.plot([best_epoch], [kept], color=AFTER, marker="*", markersize=14, linestyle="",
                      label=f"kept: epoch {best_epoch}, {mark.format(kept)}")
    for axes, name in ((loss, "loss"), (rate, "learning rate")):
        plain(axes, ylabel=name)
    for axes in (loss, *panels, rate):
        if best_epoch is not None:
            axes.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.5, zorder=0)
    for axes in (loss, *(panels if best_epoch is not None else ())):
        axes.legend(fontsize=10, edgecolor="none", framealpha=0.9, loc="best")
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.set_ylim(0, 1.15 * max(np.nanmax(columns["learning_rate"]), 1e-12))
    rate.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    rate.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    rate.set_xlabel("epoch", fontsize=11)
    figure.align_ylabels()
    return save(figure, path, title)


def _by_epoch(rows: Sequence[Mapping]) -> dict[str, np.ndarray]:
    """COLUMNS and what there is of SCORES as arrays (epochs,), rising by epoch, nan where a value is blank."""
    wanted = (*COLUMNS, *SCORES)
    filled = [{name: float(row[name]) for name in wanted if row.get(name) not in (None, "")} for row in rows]
    found = [name for name in wanted if any(name in row for row in filled)]
    missing = [name for name in COLUMNS if name not in found] or ([] if set(SCORES) & set(found) else [*SCORES])
    if missing or not all("epoch" in row for row in filled):
        there = sorted({name for row in rows for name in row})
        raise ValueError(f"no {', '.join(missing) or 'epoch in some'} of {len(rows)} rows with columns "
                         f"{there}: a curve would be empty or out of place. Pass the rows of training's "
                         "epochs.csv.")
    epochs: dict[int, dict[str, float]] = {}
    for row in filled:
        epochs.setdefault(int(row["epoch"]), {}).update(row)
    return {name: np.array([epochs[epoch].get(name, np.nan) for epoch in sorted(epochs)]) for name in found}
