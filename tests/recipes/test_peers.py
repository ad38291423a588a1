"""recipes/peers: the table of features, the SVM of a fold on random features, and its run.sh."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.svm import SVC

from emotion import datadir
from emotion.datadir import Utterance
from emotion.posteriors import Posteriors
from emotion.results import results

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
EMOTIONS = ("anger", "fear", "sadness")
SPEAKERS = {"train": ("a1", "a2", "a3", "a4"), "valid": ("b1", "b2"), "test": ("c1", "c2")}


def load(name):
    """A script of peers/local as a module, that finds its neighbour as it does when run."""
    spec = importlib.util.spec_from_file_location(f"peers_{name}", RECIPES / "peers/local" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module   # dataclasses look their module up
    sys.path.insert(0, str(RECIPES / "peers/local"))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(RECIPES / "peers/local"))
    return module


extract, svm = load("extract"), load("svm")


@pytest.fixture
def parts(tmp_path):
    """{part: utterances}, ten of each emotion and speaker."""
    def spoken(speaker, emotion, n):
        return Utterance(f"{speaker}-{emotion}{n}", speaker, str(tmp_path / "a.wav"), emotion, n, n + 1)

    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 10), 16000)
    return {part: [spoken(s, e, n) for s in speakers for e in EMOTIONS for n in range(10)]
            for part, speakers in SPEAKERS.items()}


def features_of(parts, rng, distance=1.0, offset=0.0):
    """A table of 8 numbers an utterance: noise of deviation 1, a shift for each emotion and one for each speaker."""
    shift = {emotion: rng.normal(0, distance, 8) for emotion in EMOTIONS}
    shift |= {speaker: rng.normal(0, offset, 8) for speakers in SPEAKERS.values() for speaker in speakers}
    rows = {u.id: (extract.source(u), (rng.normal(0, 1, 8) + shift[u.emotion] + shift[u.speaker]).astype(np.float32))
            for utterances in parts.values() for u in utterances}
    return extract.Table("eGeMAPSv02", "2.6.0", rows)


@pytest.fixture
def fold(tmp_path, parts):
    """A fold's folder, with a recording of its own for each utterance, and the utterances."""
    for part, utterances in parts.items():
        for i, u in enumerate(utterances):
            (tmp_path / f"{u.id}.wav").write_text(u.id)
            utterances[i] = Utterance(u.id, u.speaker, str(tmp_path / f"{u.id}.wav"), u.emotion)
        datadir.write(tmp_path / "fold1" / part, utterances)
    return tmp_path / "fold1", parts


def run(tmp_path, fold, table, *options, exp="exp/fold1/seed1"):
    """The script as the recipe calls it; the folder it wrote to."""
    table.write(tmp_path / "features.npz")
    svm.main([str(tmp_path / "features.npz"), str(fold), str(tmp_path / exp), *options])
    return tmp_path / exp


def test_emotions_far_apart_are_all_found_and_the_results_make_a_table(tmp_path, fold, rng):
    folder, parts = fold
    exp = run(tmp_path, folder, features_of(parts, rng, distance=10))
    answers = Posteriors.read(exp / "posteriors.csv")
    assert answers.labels == EMOTIONS and set(answers.speakers) == set(SPEAKERS["test"])
    assert answers.summary()["uar"] == 1
    assert "| UAR % | 100.0 |" in results(tmp_path / "exp")


def test_features_without_emotion_stay_near_chance(tmp_path, fold, rng):
    folder, parts = fold
    exp = run(tmp_path, folder, features_of(parts, rng, distance=0))
    assert Posteriors.read(exp / "posteriors.csv").summary()["uar"] < 0.6   # chance is 0.33 of 60 utterances


@pytest.mark.parametrize("emotions", [EMOTIONS, EMOTIONS[:2]], ids=len)
def test_the_largest_probability_is_the_answer_of_the_svm(parts, rng, emotions):
    parts = {part: [u for u in utterances if u.emotion in emotions] for part, utterances in parts.items()}
    fold = svm.prepare(parts, features_of(parts, rng), speaker_normalised=False)
    machine, _ = svm.choose(fold)
    probabilities, _ = svm.probabilities(machine, fold)
    assert probabilities.shape == (20 * len(emotions), len(emotions))
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (probabilities.argmax(axis=1) == machine.predict(fold.products["test"])).all()


def test_training_speakers_alone_set_the_scale(parts, rng):
    features = svm.standardise(parts, features_of(parts, rng, offset=5), speaker_normalised=False)
    assert features["train"].mean(axis=0) == pytest.approx(0) and features["train"].std(axis=0) == pytest.approx(1)
    assert np.abs(features["test"].mean(axis=0)).max() > 0.5


def test_speaker_normalised_features_forget_who_speaks(parts):
    near, far = (features_of(parts, np.random.default_rng(1), offset=offset) for offset in (0, 50))
    normalised = [svm.standardise(parts, table, speaker_normalised=True) for table in (near, far)]
    for part in parts:
        assert normalised[0][part] == pytest.approx(normalised[1][part], abs=1e-3)
        assert normalised[0][part][:30].mean(axis=0) == pytest.approx(0, abs=1e-6)   # of the first speaker


def test_inner_products_give_the_svm_that_the_features_give(parts, rng):
    table = features_of(parts, rng)
    fold, features = (call(parts, table, speaker_normalised=False) for call in (svm.prepare, svm.standardise))
    machine, _ = svm.choose(fold)
    plain = SVC(C=machine.C, kernel="linear", class_weight="balanced", break_ties=True)
    plain.fit(features["train"], fold.targets["train"])
    expected = plain.decision_function(features["test"])
    assert svm.decisions(machine, fold.products["test"]) == pytest.approx(expected, abs=0.01)   # solvers stop at 0.001


def test_the_complexity_is_the_best_of_the_validation_speakers_and_of_equals_the_smallest(parts, rng):
    machine, scores = svm.choose(svm.prepare(parts, features_of(parts, rng), speaker_normalised=False))
    assert list(scores) == list(svm.COMPLEXITIES)
    assert machine.C == min(c for c, score in scores.items() if score == max(scores.values()))


def test_what_is_done_is_skipped_until_a_setting_changes(tmp_path, fold, rng, capsys):
    folder, parts = fold
    table = features_of(parts, rng)
    exp = run(tmp_path, folder, table)
    assert json.loads((exp / "svm.json").read_text())["complexity"] in svm.COMPLEXITIES
    before = (exp / "posteriors.csv").stat().st_mtime_ns
    run(tmp_path, folder, table)
    assert "skipped" in capsys.readouterr().out and (exp / "posteriors.csv").stat().st_mtime_ns == before
    run(tmp_path, folder, table, "--speaker-normalised")
    assert (exp / "posteriors.csv").stat().st_mtime_ns > before
    datadir.write(folder / "test", parts["test"][:-1])
    run(tmp_path, folder, table, "--speaker-normalised")
    assert len(Posteriors.read(exp / "posteriors.csv").utterances) == len(parts["test"]) - 1


@pytest.mark.parametrize("fault, remedy", [
    ("no table", "no features yet. Run stage 1"),
    ("half a table", "is no table of features.*Remove it and run stage 1"),
    ("an utterance left out", "no features of c1-anger0, or of another recording. Run stage 1"),
    ("another recording", "no features of c1-anger0, or of another recording. Run stage 1"),
    ("a class that nobody trains", "no training utterance is of disgust.*Leave these emotions out"),
    ("a speaker in two parts", "speaker a1 is in train and in test"),
])
def test_a_fold_that_cannot_be_scored_is_refused(tmp_path, fold, rng, fault, remedy):
    folder, parts = fold
    table = features_of(parts, rng)
    first = parts["test"][0]
    if fault == "an utterance left out":
        del table.rows[first.id]
    elif fault == "another recording":
        table.rows[first.id] = ("elsewhere.wav", table.rows[first.id][1])
    elif fault == "a class that nobody trains":
        datadir.write(folder / "test", [Utterance(first.id, first.speaker, first.wav, "disgust")])
    elif fault == "a speaker in two parts":
        datadir.write(folder / "test", parts["train"][:1])
    table.write(tmp_path / "features.npz")
    if fault == "no table":
        (tmp_path / "features.npz").unlink()
    elif fault == "half a table":
        (tmp_path / "features.npz").write_bytes((tmp_path / "features.npz").read_bytes()[:500])
    with pytest.raises(SystemExit, match=f"(?s)svm.py: .*{remedy}"):
        svm.main([str(tmp_path / "features.npz"), str(folder), str(tmp_path / "exp")])
    assert not (tmp_path / "exp").exists()


# The table of features


class Smile:
    """Stands for opensmile: two numbers of a signal; stops like Ctrl-C after `most` signals."""

    def __init__(self, most=1000):
        self.most, self.heard = most, []

    def process_signal(self, waveform, sample_rate):
        if len(self.heard) == self.most:
            raise KeyboardInterrupt
        self.heard.append((len(waveform), sample_rate))
        return self

    def to_numpy(self, dtype):
        return np.array([self.heard[-1]], dtype)


def test_an_extraction_that_was_stopped_goes_on_where_it_was(tmp_path, parts, monkeypatch):
    utterances, path = parts["test"], tmp_path / "data/features.npz"
    first, second = Smile(most=25), Smile()
    monkeypatch.setattr(extract, "extractor", lambda name: (first, "2.6.0"))
    with pytest.raises(KeyboardInterrupt):
        extract.extract("eGeMAPSv02", path, utterances)
    monkeypatch.setattr(extract, "extractor", lambda name: (second, "2.6.0"))
    extract.extract("eGeMAPSv02", path, utterances)
    assert (len(first.heard), len(second.heard)) == (25, 35)
    assert {*first.heard, *second.heard} == {(16000, 16000)}   # a span of one second each
    table = extract.Table.read(path)
    assert (table.feature_set, table.version) == ("eGeMAPSv02", "2.6.0")
    assert table.matrix(utterances).tolist() == [[16000, 16000]] * 60


@pytest.mark.parametrize("feature_set, version", [("ComParE_2016", "2.6.0"), ("eGeMAPSv02", "3.0")])
def test_one_table_holds_one_kind_of_features(tmp_path, parts, monkeypatch, feature_set, version):
    monkeypatch.setattr(extract, "extractor", lambda name: (Smile(), "2.6.0"))
    extract.extract("eGeMAPSv02", tmp_path / "features.npz", parts["test"])
    monkeypatch.setattr(extract, "extractor", lambda name: (Smile(), version))
    with pytest.raises(ValueError, match="holds eGeMAPSv02 of opensmile 2.6.0, not .*Remove it, or name another"):
        extract.extract(feature_set, tmp_path / "features.npz", parts["test"])


def test_features_that_are_not_finite_are_refused_by_name(tmp_path, parts, monkeypatch):
    class Broken(Smile):
        def to_numpy(self, dtype):
            return np.array([[1, np.nan]], dtype)

    monkeypatch.setattr(extract, "extractor", lambda name: (Broken(), "2.6.0"))
    with pytest.raises(ValueError, match="c1-anger0: 1 of 2 features are not finite.*emotion data subset"):
        extract.extract("eGeMAPSv02", tmp_path / "features.npz", parts["test"])


def test_a_missing_opensmile_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(ImportError, match="pip install opensmile"):
        extract.extractor("eGeMAPSv02")


# The recipe


@pytest.fixture
def recipe(tmp_path):
    """Runs a copy of run.sh whose programs only write down their arguments."""
    shutil.copytree(RECIPES / "peers", tmp_path / "peers", ignore=shutil.ignore_patterns("data", "exp", "__pycache__"))
    for name in ("common.sh", "path.sh", "cmd.sh"):
        shutil.copy(RECIPES / name, tmp_path)
    programs = tmp_path / "bin/emotion", *(tmp_path / "peers/local" / name for name in ("extract.py", "svm.py"))
    (tmp_path / "bin").mkdir()
    for program in programs:
        program.write_text(f'#!/bin/sh\necho "{program.name} $*" >>"{tmp_path}/calls"\n')
        program.chmod(0o755)
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    for k in (1, 2):
        (tmp_path / f"ravdess/data/luna5/fold{k}").mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
                   "PYTHONPATH": str(RECIPES.parent)}

    def call(*arguments):
        return subprocess.run(["bash", "peers/run.sh", *arguments], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=60)

    return call


def test_features_are_made_once_and_every_fold_is_scored(recipe, tmp_path):
    result = recipe()
    assert result.returncode == 0, result.stderr
    data, table, root = "../ravdess/data/luna5", "data/ravdess/eGeMAPSv02.npz", "exp/ravdess/eGeMAPSv02/luna5"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"extract.py eGeMAPSv02 {table} {data}/fold1/train {data}/fold1/valid {data}/fold1/test",
        *(f"svm.py {table} {data}/fold{k} {root}/fold{k}/seed1" for k in (1, 2)),
        f"emotion results {root} -o {root}/RESULTS.md",
    ]


def test_speaker_normalised_scores_are_a_line_of_their_own(recipe, tmp_path):
    options = "--stage 2 --stop-stage 2 --features ComParE_2016 --speaker-normalised true --fold 2 --nj 2 --exp e"
    assert recipe(*options.split()).returncode == 0
    assert (tmp_path / "calls").read_text() == (
        "svm.py --speaker-normalised data/ravdess/ComParE_2016.npz ../ravdess/data/luna5/fold2 "
        "e/ComParE_2016-speaker/luna5/fold2/seed1\n"
    )


@pytest.mark.parametrize("options, remedy", [
    ("--features compare", "takes eGeMAPSv02 or ComParE_2016, not 'compare'"),
    ("--speaker-normalised yes", "takes true or false, not 'yes'"),
    ("--corpus-recipe other", "no split is known for 'other'.*with --split"),
    ("--corpus-recipe nemo", "nemo/data/loso9 holds no fold1: write it with ../nemo/run.sh --stage 1"),
    ("--split other", "ravdess/data/other holds no fold1"),
])
def test_an_option_that_cannot_be_is_refused_before_anything_runs(recipe, tmp_path, options, remedy):
    result = recipe(*options.split())
    assert result.returncode and re.search(remedy, result.stderr)
    assert not (tmp_path / "calls").exists()


def test_help_names_every_option(recipe):
    described, now = recipe("--help").stdout.split("\nNow:")
    for option in re.findall(r"--[a-z-]+", now):
        assert re.search(rf"^(?:--stage N, )?{option} [A-Z]+[,. ]", described, re.MULTILINE), option
