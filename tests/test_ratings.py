import dataclasses

import numpy as np
import pytest

from emotion import labels, metrics
from emotion.datadir import DataError, Utterance
from emotion.ratings import Ratings, against_votes, told

NAN = float("nan")


def ratings(names: str, true, said, dimensions=("arousal", "valence")) -> Ratings:
    """An id begins with its speaker."""
    names = tuple(names.split())
    return Ratings(names, tuple(name[0] for name in names), dimensions, np.array(true, float), np.array(said, float))


GIVEN = ratings("a1 a2 b1", [[0, NAN], [0.5, 0.25], [1, 0.75]], [[0.25, 0.5], [0.5, 0.5], [0.75, 0.5]])


def test_ratings_survive_their_table_and_what_nobody_rated_stays_so(tmp_path):
    GIVEN.write(tmp_path / "dimensions.csv")
    read = Ratings.read(tmp_path / "dimensions.csv")
    assert (read.utterances, read.speakers, read.dimensions) == (GIVEN.utterances, GIVEN.speakers, GIVEN.dimensions)
    np.testing.assert_allclose(read.true, GIVEN.true, rtol=1e-5)
    np.testing.assert_allclose(read.said, GIVEN.said, rtol=1e-5)
    header = (tmp_path / "dimensions.csv").read_text().splitlines()[0]
    assert header == "utterance,speaker,true_arousal,said_arousal,true_valence,said_valence"


def test_the_table_is_found_beside_that_of_posteriors(tmp_path):
    assert Ratings.beside(tmp_path / "posteriors.csv") is None
    GIVEN.write(tmp_path / "dimensions_speeds.csv")
    assert Ratings.beside(tmp_path / "posteriors_speeds.csv").utterances == GIVEN.utterances
    assert Ratings.beside(tmp_path / "dimensions_speeds.csv") is None   # not a table beside itself


def test_each_dimension_is_measured_over_those_who_were_rated():
    found = GIVEN.summary()
    assert found["arousal"]["ccc"] == pytest.approx(metrics.ccc([0, 0.5, 1], [0.25, 0.5, 0.75]))
    assert found["arousal"]["num_utterances"] == 3 and found["valence"]["num_utterances"] == 2
    assert found["valence"]["ccc"] == 0   # always the same answer
    assert found["arousal"]["ccc_low"] <= found["arousal"]["ccc"] <= found["arousal"]["ccc_high"]


def test_with_fewer_than_two_ratings_there_is_nothing_to_measure():
    found = ratings("a1 b1", [[NAN], [0.5]], [[0.1], [0.2]], ("arousal",)).summary()["arousal"]
    assert found.pop("num_utterances") == 1 and np.isnan(list(found.values())).all()


def test_folds_are_pooled_and_members_averaged():
    other = ratings("c1", [[0.5, 0.5]], [[0.25, 0.75]])
    pooled = Ratings.pool([GIVEN, other])
    assert pooled.utterances == ("a1", "a2", "b1", "c1") and pooled.said[3].tolist() == [0.25, 0.75]
    mean = Ratings.mean([GIVEN, dataclasses.replace(GIVEN, said=GIVEN.said + 0.2)])
    np.testing.assert_allclose(mean.said, GIVEN.said + 0.1)


def test_votes_are_measured_over_those_who_have_some_for_a_class():
    heard = [(("anger", 3), ("sadness", 1)), (("fear", 4),), (), (("sadness", 2), ("surprise", 5))]   # emodb4
    utterances = [Utterance(f"a-{i}", "a", "x.wav", "anger", votes=votes) for i, votes in enumerate(heard)]
    answers = np.array([[0.7, 0.1, 0.1, 0.1]] * 3 + [[0.4, 0.1, 0.2, 0.3]])
    found = against_votes(utterances, labels.scheme("emodb4"), answers)
    assert found["num_utterances"] == 2
    assert found["cross_entropy"] == pytest.approx(-(0.75 * np.log(0.7) + 0.25 * np.log(0.1) + np.log(0.3)) / 2)
    assert found["entropy"] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / 2)
    assert (found["agreement"], found["agreement_best"]) == ((0.75 + 0) / 2, (0.75 + 1) / 2)
    assert "37.5 % of the listeners agree (87.5 at best), on 2 utterances" in told({"votes": found})[0]


def test_without_votes_or_classes_there_is_nothing_to_say_of_them():
    silent, heard = (Utterance(f"a-{i}", "a", "x.wav", "anger", votes=votes) for i, votes in enumerate(
        ((), (("anger", 3),))))
    assert against_votes([silent], labels.scheme("emodb4"), np.full((1, 4), 0.25)) == {}
    assert against_votes([heard], labels.scheme("none"), np.ones((1, 1))) == {}


# Refusals

@pytest.mark.parametrize("text", [
    "", "utterance,speaker\n", "utterance,speaker,said_arousal,true_arousal\na1,a,1,1\n",
    "utterance,speaker,true_arousal,said_arousal\n", "utterance,speaker,true_arousal,said_arousal\na1,a,much,1\n",
    "utterance,speaker,true_arousal,said_arousal\na1,a,1\n",
])
def test_another_table_is_refused_as_dimensions(tmp_path, text):
    (tmp_path / "dimensions.csv").write_text(text)
    with pytest.raises(DataError, match="dimensions.csv is no whole table of dimensions.*emotion evaluate"):
        Ratings.read(tmp_path / "dimensions.csv")


def test_other_dimensions_are_neither_pooled_nor_averaged():
    other = dataclasses.replace(GIVEN, dimensions=("arousal", "dominance"))
    with pytest.raises(DataError, match="Pool one of them"):
        Ratings.pool([GIVEN, other])
    with pytest.raises(DataError, match="same fold and settings"):
        Ratings.mean([GIVEN, other])
