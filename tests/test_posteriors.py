import dataclasses
import json

import numpy as np
import pytest
from planted import planted

from emotion import labels
from emotion.datadir import DataError
from emotion.posteriors import POSTERIORS, Posteriors, caveats, read_scores

CLASSES = labels.scheme("mini5").classes


def test_posteriors_survive_their_table(tmp_path):
    probabilities = np.random.default_rng(0).dirichlet(np.full(5, 0.1), 50)
    targets = np.arange(50) % 5
    names = tuple(f"{'ä' * (k % 2)}s{k % 3}-{k}" for k in range(50))
    written = Posteriors(names, tuple(name.split("-")[0] for name in names), CLASSES, targets, probabilities)
    written.write(tmp_path / "posteriors.csv")
    read = Posteriors.read(tmp_path / "posteriors.csv")
    assert (read.utterances, read.speakers, read.labels) == (written.utterances, written.speakers, CLASSES)
    assert np.array_equal(read.targets, targets)
    assert read.probabilities == pytest.approx(probabilities, rel=1e-5, abs=0)
    assert [path.name for path in tmp_path.iterdir()] == ["posteriors.csv"]


def test_a_certain_mistake_costs_the_same_after_its_table(tmp_path):
    sure = planted("a1 b1", [0, 1], [1, 1], share=1 - 1e-9)
    sure.write(tmp_path / "posteriors.csv")
    read = Posteriors.read(tmp_path / "posteriors.csv")
    assert read.summary()["nll"] == pytest.approx(sure.summary()["nll"])


@pytest.mark.parametrize("text", [
    "", "path,label\n", "p_anger\n", "p_anger\na,a,fear,1\n", "p_anger\na,a,anger,much\n",
    "p_anger,p_fear\na,a,anger,1\n", "p_anger,p_fear\na,a,anger,nan,1\n", "p_anger\na,a,anger,1\na,a,anger,1\n",
    pytest.param(f'p_anger\n"a,{"x" * 200_000}', id="a quote that is never closed"),
])
def test_another_table_is_refused_as_posteriors(tmp_path, text):
    text = f"utterance,speaker,emotion,{text}" if text.startswith("p_") else text
    (tmp_path / "posteriors.csv").write_text(text)
    with pytest.raises(DataError, match="posteriors.csv is no whole table of posteriors.*emotion evaluate"):
        Posteriors.read(tmp_path / "posteriors.csv")


def test_pooled_folds_stand_one_after_the_other():
    pooled = Posteriors.pool([planted("a1 a2", [0, 1], [0, 0]), planted("b1", [1], [1])])
    assert (pooled.utterances, pooled.speakers) == (("a1", "a2", "b1"), ("a", "a", "b"))
    assert pooled.targets.tolist() == [0, 1, 1] and pooled.probabilities.argmax(1).tolist() == [0, 0, 1]


def test_two_folds_that_tested_the_same_utterance_are_refused():
    with pytest.raises(DataError, match="it would count twice"):
        Posteriors.pool([planted("a1 a2", [0, 1], [0, 1]), planted("a2", [1], [1])])


def test_folds_of_two_schemes_are_refused():
    other = dataclasses.replace(planted("b1", [0], [0]), labels=("anger", "sadness"))
    with pytest.raises(DataError, match="Pool one scheme"):
        Posteriors.pool([planted("a1", [0], [0]), other])


def test_the_members_of_an_ensemble_answer_the_same_utterances():
    with pytest.raises(DataError, match="models of the same fold"):
        Posteriors.mean([planted("a-1", [0], [0]), planted("a-2", [0], [0])])


def test_posteriors_are_told_apart_by_what_they_are_not_by_what_they_hold():
    one, other = (planted("a1 b1", [0, 1], [0, 1]) for _ in range(2))
    assert one == one and one != other and len({one, other}) == 2


@pytest.mark.parametrize("name, scores, told", [
    (POSTERIORS, {}, set()), ("posteriors_own.csv", {}, {"transductive"}),
    (POSTERIORS, {"transductive": True, "heard": ["a"]}, {"transductive", "heard"}), (POSTERIORS, {"heard": []}, set()),
])
def test_what_is_to_be_said_of_a_table_stands_in_its_name_and_beside_it(tmp_path, name, scores, told):
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    assert caveats(tmp_path / name) == told


def test_scores_that_were_cut_off_or_never_written_are_none(tmp_path):
    (tmp_path / "cut.json").write_text('{"model": "')
    assert read_scores(tmp_path / "cut.json") == read_scores(tmp_path / "none.json") == {}
