"""The model that comes with the package, on the few speakers that it was not trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from emotion import Analyzer, checkpoint, metrics
from emotion.checkpoint import BUNDLED

RAVDESS = {1: "neutral", 2: "neutral", 3: "happiness", 4: "sadness", 5: "anger", 6: "fear", 7: "disgust", 8: "surprise"}
EMODB = {"W": "anger", "F": "happiness", "N": "neutral", "T": "sadness"}


@pytest.fixture(scope="module")
def bundled() -> checkpoint.Checkpoint:
    return checkpoint.read(BUNDLED)


def uar(model: checkpoint.Checkpoint, emotions: dict[Path, str]) -> float:
    answers = Analyzer(model, "cpu").analyze([str(path) for path in emotions])
    targets = [model.labels.index(emotion) for emotion in emotions.values()]
    return metrics.uar(targets, [int(answer.probabilities.argmax()) for answer in answers])   # unknown or not


def test_it_is_far_above_chance_on_actors_of_ravdess_that_did_not_train_it(bundled, corpora):
    paths = sorted((corpora / "ravdess").rglob("03-01-*.*"))
    paths = [path for path in paths if f"ravdess{path.stem[-2:]}" not in bundled.train_speakers]
    assert len(paths) >= 120
    assert uar(bundled, {path: RAVDESS[int(path.stem[6:8])] for path in paths[::2]}) > 3 / 7


def test_it_is_far_above_chance_on_speakers_of_emodb_that_did_not_train_it(bundled, corpora):
    paths = sorted((corpora / "emodb").rglob("*.wav"))
    paths = [path for path in paths if f"emodb{path.stem[:2]}" not in bundled.train_speakers]
    assert len(paths) >= 50
    assert uar(bundled, {p: EMODB[p.stem[5]] for p in paths if p.stem[5] in EMODB}) > 2 / 4


def test_it_is_calibrated_and_says_what_it_was_made_of(bundled):
    assert bundled.calibration.utterance != 1.0
    assert set(bundled.labels) == {"anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"}
    assert {"data", "licence", "protocol", "test", "purpose", "commit"} <= set(bundled.card)
    assert not set(bundled.train_speakers) & set(bundled.valid_speakers)


def test_the_card_states_the_numbers_that_the_file_carries(bundled):
    page = BUNDLED.with_name("CARD.md").read_text(encoding="utf-8")
    assert bundled.card["test"].keys() == {"folds", "corpora"}
    stated = [line.split("|") for line in page.splitlines() if line.startswith("|")]
    for table in bundled.card["test"].values():
        for name, measured in table.items():
            numbers = {f"{100 * measured[key]:.1f}" for key in ("uar", "war", "ece")}
            assert any(cells[1].strip() == name and numbers <= {cell.strip() for cell in cells} for cells in stated)


def test_it_holds_back_some_answers_and_knows_neutral_speech(bundled):
    assert 0 < bundled.calibration.unknown_below < 0.5 and bundled.neutral is not None


def test_the_file_is_numbers_and_one_json_text_only():
    with safe_open(BUNDLED, framework="numpy") as file:
        assert list(file.metadata()) == ["emotion"]
        assert json.loads(file.metadata()["emotion"])["format"] == checkpoint.FORMAT
        assert all(np.isfinite(file.get_tensor(key)).all() for key in file.keys())
