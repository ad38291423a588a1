"""Arousal and the like, and listeners' votes, from the data directory to the scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from feelings import RATE, tone

from emotion import Analyzer, checkpoint, cli, datadir, evaluate, labels, metrics, results
from emotion.datadir import DataError
from emotion.ratings import Ratings
from emotion.settings import SettingError
from emotion.train import config, fit
from emotion.train.config import Config, FitConfig
from emotion.train.dataset import Recordings


@pytest.fixture(scope="module")
def both(train, feeling, rated, tmp_path_factory):
    """The folder of a model of arousal beside classes, and the rows of its epochs."""
    exp = tmp_path_factory.mktemp("both") / "fold1" / "seed1"
    torch.set_num_threads(1)
    return exp, train(exp, feeling, data=rated)[1]


@pytest.fixture(scope="module")
def alone(train, feeling, rated, tmp_path_factory):
    """The same of a model of arousal alone."""
    exp = tmp_path_factory.mktemp("alone") / "fold1" / "seed1"
    torch.set_num_threads(1)
    return exp, train(exp, replace(feeling, scheme="none"), data=rated)[1]


# Known answers

@pytest.mark.parametrize("kind", ["both", "alone"])
def test_arousal_that_is_known_by_construction_is_heard_in_new_voices(kind, rated, request):
    exp, rows = request.getfixturevalue(kind)
    test = datadir.read(rated / "test")
    _, ratings = evaluate.answers(test, Analyzer(exp, "cpu"), (1.0,))
    assert ratings.dimensions == ("arousal",)
    assert ratings.true[:, 0].tolist() == [utterance.arousal for utterance in test]
    assert metrics.ccc(ratings.true[:, 0], ratings.said[:, 0]) > 0.8
    assert max(row["valid_ccc"] for row in rows) > 0.8


def test_classes_are_still_told_apart_beside_it(both, rated):
    named, _ = evaluate.answers(datadir.read(rated / "test"), Analyzer(both[0], "cpu"), (1.0,))
    assert named.summary()["uar"] > 0.8


def test_what_is_measured_in_each_epoch_is_concordance_too_and_no_recall_of_one_class(both, alone):
    assert list(both[1][0]) == ["epoch", "train_loss", "valid_loss", "valid_uar", "valid_war", "valid_ccc",
                                "valid_ccc_arousal", "learning_rate", "seconds"]
    assert list(alone[1][0]) == ["epoch", "train_loss", "valid_loss", "valid_ccc", "valid_ccc_arousal",
                                 "learning_rate", "seconds"]
    assert all(row["valid_loss"] == pytest.approx(1 - row["valid_ccc"], abs=1e-5) for row in alone[1])


def test_classes_choose_the_epoch_where_there_are_any_and_concordance_where_there_are_none(both, alone):
    (exp, rows), (lone, lone_rows) = both, alone
    card, lone_card = checkpoint.read(exp).card, checkpoint.read(lone).card
    assert card["selected_by"] == "valid_uar" and lone_card["selected_by"] == "valid_ccc"
    assert card["epoch"] == max(rows, key=lambda row: row["valid_uar"])["epoch"]
    assert lone_card["epoch"] == max(lone_rows, key=lambda row: row["valid_ccc"])["epoch"]
    assert lone_card["valid_ccc_arousal"] == pytest.approx(max(row["valid_ccc"] for row in lone_rows), abs=1e-5)
    assert "valid_uar" not in lone_card


def test_a_recording_that_gets_louder_and_higher_rises_in_its_timeline(both, rng):
    waveform = np.concatenate([tone(rng, arousal, seconds=2.0) for arousal in (0.2, 0.8)])
    answer = Analyzer(both[0], "cpu", speech=None).analyze(waveform, RATE)
    (steps,), times = answer.step_dimensions.T, answer.step_times
    assert len(steps) == len(times)
    early, late = steps[times < 1.8].mean(), steps[times > 2.2].mean()
    assert early < 0.45 and late > 0.6 and early < answer.dimensions["arousal"] < late


def test_a_model_of_dimensions_alone_calls_everything_unknown_and_is_sure_of_nothing_else(alone, rng):
    answer = Analyzer(alone[0], "cpu", speech=None).analyze(tone(rng, 0.9, seconds=1.0), RATE)
    assert (answer.labels, answer.label, answer.entropy) == (("unknown",), "unknown", 0.0)
    (part,) = answer.segments
    assert part.label == "unknown" and part.dimensions == pytest.approx([answer.step_dimensions.mean()], abs=1e-5)


def test_an_utterance_without_a_rating_has_none(rated):
    recordings = Recordings(datadir.read(rated / "train"), labels.scheme("emodb4"), RATE, 0.5)
    ratings = recordings.ratings(("arousal",))
    assert torch.isnan(ratings[[u.id for u in recordings.utterances].index("a-anger0")]).all()
    assert ratings.isfinite().sum() == len(recordings) - 1


def test_mixing_two_utterances_mixes_their_ratings(train, feeling, rated, tmp_path):
    settings = replace(feeling, augment=replace(feeling.augment, mixup_alpha=1.0))
    _, rows = train(tmp_path / "exp", settings, data=rated, max_epochs=3)
    assert rows[2]["train_loss"] < rows[0]["train_loss"] and np.isfinite(rows[2]["valid_ccc"])


def test_the_weight_of_the_dimensions_counts(train, feeling, rated, tmp_path):
    first = [train(tmp_path / str(weight), feeling, data=rated, max_epochs=1, dimension_weight=weight)[1][0]
             for weight in (0.1, 10.0)]
    assert first[1]["train_loss"] > 5 * first[0]["train_loss"]   # 1 - CCC is near 1 at first


# From end to end

def test_evaluation_writes_what_was_said_of_the_dimensions_and_their_concordance(both, rated, caplog):
    caplog.set_level("INFO")
    exp = both[0]
    assert cli.main(["evaluate", str(exp), str(rated / "test"), "--device", "cpu"]) == 0
    scores, table = json.loads((exp / "scores.json").read_text()), Ratings.read(exp / "dimensions.csv")
    found = scores["dimensions"]["arousal"]
    assert found["ccc"] == pytest.approx(metrics.ccc(table.true[:, 0], table.said[:, 0]), abs=1e-5)
    assert found["ccc_low"] <= found["ccc"] <= found["ccc_high"] and found["num_utterances"] == 22
    assert f"CCC of arousal {found['ccc']:.3f} on 22 utterances" in caplog.text and "UAR" in caplog.text
    answer = Analyzer(exp, "cpu").analyze(str(rated / "test_wav" / "g-anger0.wav"))
    assert table.said[table.utterances.index("g-anger0"), 0] == pytest.approx(answer.dimensions["arousal"], abs=1e-4)
    lines = results.results(exp.parents[1]).splitlines()
    assert f"| CCC arousal | {found['ccc']:.3f} | {found['ccc']:.3f} | - |" in lines
    assert f"of CCC arousal over speakers (seed 1): {found['ccc_low']:.3f} to {found['ccc_high']:.3f}" in lines[-1]


def test_the_results_of_dimensions_alone_tell_of_no_class(alone, rated, caplog):
    caplog.set_level("INFO")
    exp = alone[0]
    evaluate.calibrate(exp, rated / "valid", "cpu")
    evaluate.evaluate(exp, rated / "test", "cpu")
    assert "UAR" not in caplog.text
    *rows, _, note = results.results(exp.parents[1]).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["CCC arousal"]
    assert "95 % interval of CCC arousal" in note and "Chance" not in note
    assert " | 1 | 1 | - | - | - | - | " in results.rows([exp.parents[1]])   # no UAR of 100 %


def test_a_model_hands_on_its_dimensions_where_they_are_the_same(feeling, both):
    parent = checkpoint.read(both[0])
    options = checkpoint.options(parent)
    for dimensions, inherited in ((["arousal"], True), (["valence"], False), ([], True)):
        fresh = checkpoint.build("serial", {**options, "dimensions": dimensions}, feeling.frontend, parent.scheme)
        fit.inherit(fresh, parent, "parent")
        assert torch.equal(fresh.model.head.classifier.weight, parent.model.head.classifier.weight)
        if dimensions:
            same = torch.equal(fresh.model.head.dimensions.weight, parent.model.head.dimensions.weight)
            assert same == inherited


def test_fine_tuning_goes_on_with_the_dimensions_of_the_model_or_with_others(both):
    parent = checkpoint.read(both[0])
    assert config.like(parent).model["dimensions"] == ["arousal"]
    assert config.like(parent, ["model.dimensions=[valence]"]).model["dimensions"] == ["valence"]
    assert config.like(parent, ["model.dimensions=[]"]).model["dimensions"] == []


# Votes

def voted(utterances, votes):
    return [replace(u, votes=tuple(votes.items())) if u.emotion == "anger" else u for u in utterances]


def test_votes_become_the_target_and_an_utterance_without_usable_ones_keeps_its_label(corpus):
    utterances = voted(datadir.read(corpus / "train"), {"anger": 2, "sadness": 1, "fear": 5})   # emodb4 has no fear
    utterances[-1] = replace(utterances[-1], votes=(("fear", 3),))
    recordings = Recordings(utterances, labels.scheme("emodb4"), RATE, 0.5)
    angry = recordings.targets.index(0)
    for weight, expected in ((0.0, [1, 0, 0, 0]), (1.0, [2 / 3, 0, 0, 1 / 3]), (0.5, [5 / 6, 0, 0, 1 / 6])):
        targets = recordings.distributions(weight)
        assert targets[angry].tolist() == pytest.approx(expected)
        assert targets[-1].tolist() == [0, 0, 0, 1]


def test_a_model_trained_on_votes_is_as_unsure_as_the_listeners(train, quick, corpus, tmp_path):
    """Three in ten of them heard sadness in every anger."""
    for name in ("train", "valid"):
        datadir.write(tmp_path / name, voted(datadir.read(corpus / name), {"anger": 7, "sadness": 3}))
    scores = []
    for weight in (0.0, 1.0):
        exp = tmp_path / str(weight)
        train(exp, quick, data=tmp_path, vote_weight=weight, balance="none", max_epochs=15, schedule="cosine")
        scores.append(evaluate.evaluate(exp, tmp_path / "valid", "cpu", allow_heard=True)["votes"])
    named, soft = scores
    assert soft["cross_entropy"] < named["cross_entropy"]
    assert soft["cross_entropy"] == pytest.approx(soft["entropy"], abs=0.1)
    assert soft["entropy"] == pytest.approx(-0.7 * np.log(0.7) - 0.3 * np.log(0.3))
    assert soft["agreement_best"] == pytest.approx(0.7) and soft["num_utterances"] == 6


def test_votes_and_teachers_mix(corpus, quick, train, tmp_path):
    teacher, _ = train(tmp_path / "teacher", max_epochs=1)
    recordings = Recordings(
        voted(datadir.read(corpus / "train"), {"sadness": 1}), labels.scheme("own", ("anger", "sadness")), RATE, 0.5)
    settings = replace(quick, fit=replace(quick.fit, vote_weight=1.0, teacher_weight=0.5, teacher_temperature=1.0))
    plain = replace(quick, fit=replace(quick.fit, teacher_weight=0.5, teacher_temperature=1.0))
    change = fit.taught([teacher], recordings, settings, "cpu") - fit.taught([teacher], recordings, plain, "cpu")
    angry = recordings.targets.index(0)
    torch.testing.assert_close(change[angry], torch.tensor([-0.5, 0.5]))


# Refusals

def test_dimensions_that_nobody_rated_are_refused(train, feeling, corpus, rated, tmp_path):
    with pytest.raises(DataError, match="0 of 24 utterances of a, b, c have a rating of arousal.*Add utt2arousal"):
        train(tmp_path / "exp", feeling, data=corpus)
    (tmp_path / "train").symlink_to(rated / "train")
    datadir.write(tmp_path / "valid", [replace(u, arousal=None) for u in datadir.read(rated / "valid")])
    with pytest.raises(DataError, match="0 of 20 utterances of e, f have a rating"):
        train(tmp_path / "other", feeling, data=tmp_path)


def test_votes_that_nobody_cast_are_refused(train, tmp_path):
    with pytest.raises(DataError, match="no utterance has votes for a class of scheme own.*Add utt2votes"):
        train(tmp_path / "exp", vote_weight=0.5)


@pytest.mark.parametrize("options, remedy", [
    ({"scheme": "none"}, "nothing is to be learnt. Set model.dimensions"),
    ({"scheme": "emodb4", "fit": {"dimension_weight": 0.0}}, "fit.dimension_weight=0.0 must be above 0"),
    ({"scheme": "emodb4", "fit": {"vote_weight": 1.5}}, r"fit.vote_weight=1.5 must be in \[0, 1\]"),
])
def test_settings_that_would_train_nothing_are_refused(options, remedy):
    with pytest.raises(SettingError, match=remedy):
        Config(**{**options, "fit": FitConfig(**options.get("fit", {}))})
