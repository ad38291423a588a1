import io

import numpy as np
import pytest
from pictures import assert_readable, written

from emotion import curves


def history(epochs: int) -> list[dict[str, str]]:
    """As a logger writes it: training and validation of one epoch on rows of their own, blanks between."""
    blank = dict.fromkeys(curves.COLUMNS, "")
    rows = []
    for epoch in range(epochs):
        rows.append({**blank, "epoch": str(epoch), "train_loss": str(2 * 0.9 ** epoch)})
        rows.append({**blank, "epoch": str(epoch), "valid_loss": str(1 + 0.01 * epoch),
                     "valid_uar": str(0.7 - 0.001 * (epoch - 3) ** 2),  # a single peak at epoch 3
                     "learning_rate": "0.001"})
    return rows


def test_curves_mark_the_epoch_of_the_best_uar(tmp_path):
    figure = curves.draw(history(60), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "validation UAR (%)", "learning rate"]
    assert figure.axes[-1].get_xlabel() == "epoch"
    assert {"train", "valid", "kept: epoch 3, UAR 70.0 %"} <= set(written(figure))
    assert_readable(figure)


def test_curves_mark_the_epoch_that_was_kept_where_it_is_given(tmp_path):
    figure = curves.draw(history(10), tmp_path / "curves.png", best_epoch=5)
    assert "kept: epoch 5, UAR 69.6 %" in written(figure)


def test_curves_join_the_rows_of_an_epoch_and_the_last_value_counts(tmp_path):
    rows = history(4) + [{"epoch": "2", "train_loss": "9.0"}]  # as after resuming within epoch 2
    train = curves.draw(rows, tmp_path / "curves.png").axes[0].lines[0]
    np.testing.assert_allclose(train.get_xdata(), [0, 1, 2, 3])
    np.testing.assert_allclose(train.get_ydata(), [2, 1.8, 9.0, 2 * 0.9 ** 3])


def test_curves_of_a_single_epoch_are_readable(tmp_path):
    figure = curves.draw(history(1), tmp_path / "curves.png")
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()].count("0") == 1
    assert_readable(figure)


def test_curves_of_a_run_that_diverged_are_drawn_without_a_mark(tmp_path):
    figure = curves.draw([dict.fromkeys((*curves.COLUMNS, "valid_uar"), "nan") | {"epoch": "0", "learning_rate": "1"}],
                         tmp_path / "curves.png")
    assert not any("best" in text for text in written(figure))


def test_curves_show_concordance_beside_recall_or_alone():
    rows = [{**row, "valid_ccc": str(0.5 + 0.01 * int(row["epoch"]))} for row in history(4)]
    assert {"kept: epoch 3, UAR 70.0 %", "kept: epoch 3, CCC 0.530"} <= set(written(curves.draw(rows, io.BytesIO())))
    for row in rows:
        row.pop("valid_uar", None)
    figure = curves.draw(rows, io.BytesIO())
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "validation CCC", "learning rate"]
    assert "kept: epoch 3, CCC 0.530" in written(figure)
    assert_readable(figure)


def test_curves_have_the_title_that_is_given(tmp_path):
    assert "a$b" in written(curves.draw(history(5), tmp_path / "curves.png", title="a$b"))


@pytest.mark.parametrize("rows", [[], [{"epoch": "0", "train_loss": "1"}],
                                  history(2) + [{"train_loss": "1"}]])
def test_rows_without_the_columns_of_the_curves_are_refused(rows, tmp_path):
    with pytest.raises(ValueError, match="Pass the rows of training"):
        curves.draw(rows, tmp_path / "curves.png")


def test_a_best_epoch_that_was_never_trained_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Pass the epoch that was kept"):
        curves.draw(history(5), tmp_path / "curves.png", best_epoch=5)
