"""The matrix of who was trained on what and tested on what."""

import importlib.util

import numpy as np
import pytest
import torch
from miniatures import RECIPES

from emotion import checkpoint, datadir, labels
from emotion.datadir import Utterance
from emotion.features import FrontendConfig
from emotion.posteriors import Posteriors
from emotion.train import config

SCHEME = labels.scheme("basic7")
HELD = {"x": ("anger", "fear", "neutral"), "y": ("anger", "neutral", "sadness")}


@pytest.fixture(scope="module")
def matrix():
    spec = importlib.util.spec_from_file_location("matrix", RECIPES / "cross_corpus/local/matrix.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(folder, data, row, seed, emotions):
    """A model that has heard these, and the directory that it was trained on."""
    tiny = {"channels": [4], "pools": [[1, 2]], "features": 4, "lstm_width": 4}
    (folder / row / f"seed{seed}").mkdir(parents=True)
    torch.manual_seed(1)
    model = checkpoint.build("serial", tiny, FrontendConfig(num_bands=8), SCHEME)
    checkpoint.write(model, folder / row / f"seed{seed}" / checkpoint.FILE_NAME)
    datadir.write(data / row / "fold1/train", [Utterance(f"s-{e}", "s", "s.wav", e) for e in emotions])


def answered(folder, row, seed, column, emotions, called, table="posteriors.csv"):
    """Each emotion of a corpus once, and what it was called: the likeliest; then the emotion itself; then others."""
    probabilities = np.full((len(emotions), 7), 0.01)
    for k, (emotion, name) in enumerate(zip(emotions, called)):
        probabilities[k, SCHEME.classes.index(emotion)] += 0.3
        probabilities[k, SCHEME.classes.index(name)] += 0.5
    probabilities /= probabilities.sum(1, keepdims=True)
    targets = np.array([SCHEME.classes.index(e) for e in emotions])
    names = tuple(f"{column}{k}" for k in range(len(emotions)))
    out = folder / row / f"seed{seed}" / "on" / column
    out.mkdir(parents=True, exist_ok=True)
    Posteriors(names, names, SCHEME.classes, targets, probabilities).write(out / table)


def test_a_cell_is_the_uar_over_the_classes_of_both_and_the_mean_over_seeds(matrix, tmp_path):
    exp, data = tmp_path / "exp", tmp_path / "data"
    for seed in (1, 2):
        trained(exp, data, "x", seed, HELD["x"])
    answered(exp, "x", 1, "y", HELD["y"], ("anger", "anger", "anger"))   # sadness, never heard, does not count
    answered(exp, "x", 2, "y", HELD["y"], ("anger", "neutral", "anger"))
    answered(exp, "x", 1, "x", HELD["x"], ("anger", "sadness", "neutral"))   # sadness is no answer here: fear is right
    answered(exp, "x", 1, "y", HELD["y"], ("neutral", "anger", "anger"), "posteriors_own.csv")
    lines = matrix.tables(exp, data, ["x", "y"]).splitlines()
    assert [line for line in lines if line.startswith("| x ")] == [
        "| x | 100.0 (3)* | 75.0 (2) |", "| x | -* | 0.0 (2) |",
    ]
    assert [line for line in lines if line.startswith("| y ")] == ["| y | - | -* |"] * 2


def test_with_three_corpora_a_row_tells_of_models_of_all_others(matrix, tmp_path, capsys):
    exp, data = tmp_path / "exp", tmp_path / "data"
    trained(exp, data, "x-y-z/without_y", 1, ("anger", "neutral"))
    answered(exp, "x-y-z/without_y", 1, "y", HELD["y"], ("anger", "anger", "anger"))
    matrix.main([str(exp), str(data), "x", "y", "z", "-o", str(tmp_path / "out.md")])
    told = (tmp_path / "out.md").read_text()
    assert "| all others | - | 50.0 (2) | - |" in told and told == capsys.readouterr().out


def test_without_a_model_there_is_no_matrix(matrix, tmp_path):
    with pytest.raises(SystemExit, match="no model below .*Run stages 2 and 4 first"):
        matrix.main([str(tmp_path), str(tmp_path), "x", "y", "-o", str(tmp_path / "out.md")])


def test_its_settings_are_those_of_the_bundled_model_in_fewer_epochs():
    here, bundled = (config.read(RECIPES / name / "conf/serial.yaml") for name in ("cross_corpus", "bundled"))
    assert here.model == bundled.model and here.scheme == "basic7" and here.fit.max_epochs < bundled.fit.max_epochs
