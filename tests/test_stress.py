import dataclasses
import json
import re

import numpy as np
import pytest
import soundfile
from tiny import tiny

from emotion import changes, checkpoint, datadir, labels, metrics, stress
from emotion.analyzer import Analyzer
from emotion.cli import main
from emotion.datadir import DataError, Utterance
from emotion.labels import Scheme
from emotion.stress import Check, Stress, _Answers

RATE = 16_000
LABELS = ("anger", "neutral")
NAMES = [*changes.SMALL, *changes.WORLD]


def answers(targets, plain, speakers, changed=None, sexes=None, pitches=None) -> _Answers:
    plain = np.array(plain)
    return _Answers(
        LABELS, np.array(speakers), np.array(targets), plain, dict.fromkeys(NAMES, plain) | (changed or {}),
        sexes or {}, pitches or {},
    )


def found(checks, subject: str, measure: str) -> Check:
    (check,) = [check for check in checks if (check.subject, check.measure) == (subject, measure)]
    return check


@pytest.fixture
def model():
    """Random weights, two classes, one voice that it heard."""
    return dataclasses.replace(tiny(Scheme("two", {label: label for label in LABELS})), train_speakers=("heard",))


def corpus(path, speakers: str, each: int = 1) -> str:
    """Noise of half a second in each class, of speakers called by one letter, first women then men."""
    rng, utterances = np.random.default_rng(len(speakers)), []
    for place, speaker in enumerate(speakers):
        for label in LABELS:
            for take in range(each):
                name = f"{speaker}-{label}{take}"
                path.mkdir(exist_ok=True)
                soundfile.write(path / f"{name}.wav", rng.normal(0, 0.1, RATE // 2), RATE)
                sex = "f" if place < len(speakers) / 2 else "m"
                utterances.append(Utterance(name, speaker, str(path / f"{name}.wav"), label, sex=sex))
    datadir.write(path / "data", utterances)
    return str(path / "data")


# Known answers

def test_recall_precision_and_shares_are_those_of_the_answers():
    checks = list(stress._correctness(answers([0] * 10 + [1] * 10, [0] * 10 + [0] * 6 + [1] * 4, ["a"] * 20)))
    assert found(checks, "neutral", "recall").value == pytest.approx(0.4)
    assert found(checks, "anger", "precision").value == pytest.approx(10 / 16)
    assert found(checks, "all", "UAR").value == pytest.approx(0.7)
    assert found(checks, "anger", "error of its share").value == pytest.approx(0.3)
    assert not found(checks, "anger", "error of its share").passed and not found(checks, "neutral", "recall").passed
    assert found(checks, "neutral", "error of its share, mean over speakers").value == pytest.approx(0.3)


def test_errors_that_cancel_over_speakers_show_where_speakers_are_told_apart():
    half = [0] * 8 + [1] * 8
    checks = list(stress._correctness(answers(half * 2, [0] * 16 + [1] * 16, ["a"] * 16 + ["b"] * 16)))
    assert found(checks, "anger", "error of its share").value == 0
    assert found(checks, "anger", "error of its share, mean over speakers").value == pytest.approx(0.5)


def test_a_speaker_with_few_recordings_of_a_class_says_nothing_of_its_share():
    checks = list(stress._correctness(answers([0] * 7 + [1] * 9, [1] * 16, ["a"] * 16)))
    assert [check.subject for check in checks if "speakers" in check.measure] == ["neutral"]


@pytest.mark.parametrize("name, stay, passes", [
    ("gain", 19, True), ("gain", 18, False), ("telephone", 10, True), ("telephone", 9, False), ("room", 15, False),
])
def test_a_change_passes_where_enough_labels_stay(name, stay, passes):
    plain = np.array([0, 1] * 10)
    changed = np.where(np.arange(20) < stay, plain, 1 - plain)
    check = found(stress._robustness(answers(plain, plain, ["a"] * 20, {name: changed})), name, "labels that stay")
    assert check.value == stay / 20 and check.passed is passes


def test_what_noise_costs_is_the_change_of_uar():
    plain = np.array([0, 1] * 10)
    noisy = plain.copy()
    noisy[:4:2] = 1   # two of ten angry ones
    check = found(stress._robustness(answers(plain, plain, ["a"] * 20, {"babble": noisy})), "babble", "change of UAR")
    assert check.value == pytest.approx(-0.1) and check.limit == -0.05 and not check.passed


def test_a_model_that_hears_men_worse_fails_and_an_equal_one_passes(rng):
    speakers = np.repeat([f"{sex}{k}" for sex in "fm" for k in range(6)], 40)
    targets = np.tile([0, 1], 240)
    sexes = {name: name[0] for name in set(speakers)}
    for men, passes in ((0.9, True), (0.5, False)):
        right = rng.random(480) < np.where(np.char.startswith(speakers, "m"), men, 0.9)
        checks = list(stress._fairness(answers(targets, np.where(right, targets, 1 - targets), speakers, sexes=sexes)))
        check = found(checks, "men", "UAR, beside all")
        assert check.passed is passes
        assert (check.interval[0] < 0 < check.interval[1]) is passes


def test_the_limit_of_fairness_grows_where_files_are_few(rng):
    limits = []
    for each in (4, 100):
        speakers, targets = np.repeat(["f1", "f2", "m1", "m2"], each), np.tile([0, 1], 2 * each)
        plain = np.where(rng.random(4 * each) < 0.7, targets, 1 - targets)
        checks = stress._fairness(answers(targets, plain, speakers, sexes={s: s[0] for s in set(speakers)}))
        limits.append(found(checks, "men", "UAR, beside all").limit)
    assert limits[0] > 3 * limits[1]


def test_the_gap_of_a_group_is_its_recall_less_that_of_all(rng):
    files = rng.integers(1, 9, (1, 5, 3))
    right = rng.binomial(files, 0.6)
    inside = np.array([True, False, True, False, False])
    gap = stress._gap(right, files, inside)[0]
    own, everybody = (right[0][rows].sum(0) / files[0][rows].sum(0) for rows in (inside, slice(None)))
    assert gap == pytest.approx([own.mean() - everybody.mean(), *(own - everybody)])


@pytest.mark.filterwarnings("error")
def test_a_class_that_a_group_never_spoke_is_not_compared():
    speakers, targets = np.repeat(["f1", "f2", "m1", "m2"], 4), np.array([0, 1] * 4 + [1] * 8)
    checks = list(stress._fairness(answers(targets, targets, speakers, sexes={s: s[0] for s in set(speakers)})))
    assert {check.measure for check in checks if check.subject == "men"} == {
        "UAR, beside all", "recall of neutral, beside all"}
    assert all(np.isfinite([check.value, check.limit, *check.interval]).all() for check in checks)


def test_voices_are_grouped_by_their_mean_pitch_and_one_group_alone_is_none():
    speakers, targets = np.repeat(["a", "b", "c"], 4), np.tile([0, 1], 6)
    deep = dict.fromkeys("abc", 100.0)
    assert list(stress._fairness(answers(targets, targets, speakers, pitches=deep))) == []
    checks = list(stress._fairness(answers(targets, targets, speakers, pitches=deep | {"b": 150.0, "c": 200.0})))
    assert {check.subject for check in checks} == {"low voices", "middle voices", "high voices"}


# The whole way

def test_one_speaker_gives_no_interval_and_the_report_is_json(tmp_path):
    checks = tuple(stress._correctness(answers([0, 1] * 4, [0, 1] * 4, ["a"] * 8)))
    assert found(checks, "all", "UAR").interval is None
    stress.write(Stress(checks, ("f",), ("d",), LABELS, 8, 1), tmp_path / "report.json")
    json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)


def test_a_model_that_names_no_emotions_is_refused(tmp_path):
    model = tiny(labels.NONE, dimensions=["arousal"])
    with pytest.raises(DataError, match="names no emotions.*emotion evaluate"):
        stress.stress([(model, corpus(tmp_path, "ab"))], "cpu")


def test_a_report_names_all_tests_and_holds_what_a_direct_count_gives(model, tmp_path, capsys):
    directory = corpus(tmp_path / "a", "abcd", each=2)
    lines = []
    result = stress.stress([(model, directory)], "cpu", told=lines.append)
    assert {check.subject for check in result.checks if check.group in ("small changes", "the world")} == set(NAMES)
    assert (result.num_utterances, result.num_speakers, len(lines)) == (16, 4, len(NAMES) + 2)
    paths = [u.wav for u in datadir.read(directory)]
    said = [answer.probabilities.argmax() for answer in Analyzer(model, "cpu").analyze(paths)]
    truth = [LABELS.index(u.emotion) for u in datadir.read(directory)]
    assert found(result.checks, "all", "UAR").value == pytest.approx(metrics.uar(truth, said))
    stress.write(result, tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["tests"] == len(told["checks"]) == len(result.checks)
    assert told["passed"] == sum(check["passed"] for check in told["checks"])


def test_the_folds_of_a_recipe_are_tested_together(model, tmp_path):
    for fold, speakers in ((1, "ab"), (2, "cd")):
        exp = tmp_path / "exp" / f"fold{fold}" / "seed1"
        exp.mkdir(parents=True)
        checkpoint.write(dataclasses.replace(model, valid_speakers=("x",)), exp / checkpoint.FILE_NAME)
        made = corpus(tmp_path / f"wav{fold}", speakers)
        (tmp_path / "data" / f"fold{fold}").mkdir(parents=True)
        (tmp_path / "data" / f"fold{fold}" / "test").symlink_to(made)
    assert main(["stress", str(tmp_path / "exp"), str(tmp_path / "data"), "-o", str(tmp_path / "r.html"),
                 "--device", "cpu"]) == 0
    assert ">4</dd>" in (tmp_path / "r.html").read_text()   # speakers


# Refusals

def test_a_model_that_heard_a_speaker_is_refused(model, tmp_path):
    directory = corpus(tmp_path / "a", "ab")
    with pytest.raises(DataError, match="would say nothing about voices it never heard"):
        stress.stress([(dataclasses.replace(model, valid_speakers=("a",)), directory)], "cpu")


def test_unless_it_is_allowed(tmp_path, capsys):
    directory = corpus(tmp_path / "a", "ab")
    model = dataclasses.replace(tiny(Scheme("two", {label: label for label in LABELS})), valid_speakers=("a",))
    checkpoint.write(model, tmp_path / "model.safetensors")
    asked = ["stress", str(tmp_path / "model.safetensors"), directory, "-o", str(tmp_path / "r.json")]
    assert main(asked) == 1 and "would say nothing" in capsys.readouterr().err
    assert main([*asked, "--allow-heard"]) == 0
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["models"] == [model.fingerprint] and told["heard"] == ["a"]
    page = stress._page(Stress((), (), (), LABELS, 4, 2, ("a",)))
    assert "has heard a before" in page and "never heard" not in page
    assert "never heard" in stress._page(Stress((), (), (), LABELS, 4, 2))


def test_a_fold_without_test_speakers_is_named(tmp_path):
    (tmp_path / "exp" / "fold3" / "seed1").mkdir(parents=True)
    with pytest.raises(DataError, match="fold3.*Give the one with fold"):
        stress.trials(tmp_path / "exp", tmp_path)


@pytest.mark.parametrize("name, remedy", [("report.txt", "Rename it"), ("none/report.html", "Make it first")])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_asked(name, remedy, tmp_path, capsys):
    assert main(["stress", "no model", "no data", "-o", str(tmp_path / name)]) == 1
    assert remedy in capsys.readouterr().err


# The page

HOSTILE = "<script>window.ran = 1</script>\"'&\u202e$model"


def page_of(tmp_path, **further) -> str:
    checks = (
        Check("correctness", "all", "UAR", 0.684, 0.5, True, (0.638, 0.73)),
        Check("small changes", "gain", "labels that stay", 0.9, 0.95, True),
        Check("the world", "babble", "change of UAR", -0.252, -0.05, True),
        Check("fairness", "men", "UAR, beside all", 0.06, 0.039, False, (-0.112, -0.019)),
    )
    settings = {"models": ("ab12",), "data": ("data/test",), **further}
    stress.write(Stress(checks, labels=LABELS, num_utterances=1440, num_speakers=24, **settings), tmp_path / "r.html")
    return (tmp_path / "r.html").read_text()


def test_the_page_tells_what_passed_and_what_failed(tmp_path):
    text = page_of(tmp_path)
    rows = re.findall(r'<tr class="(passed|failed)"><th scope="row">(.*?)</th>', text)
    assert rows == [("passed", "all"), ("failed", "gain"), ("failed", "babble"), ("failed", "men")]
    for told in ("1 of 4", "68.4", "63.8 to 73.0", "\u221225.2", "\u2265 95.0", "\u2264 3.9", "1,440"):
        assert told in text


def test_no_name_becomes_a_program_in_a_browser(tmp_path, browser):
    page_of(tmp_path, models=(HOSTILE,), data=(HOSTILE,))
    browser.visit((tmp_path / "r.html").as_uri())
    assert browser.run("window.ran === undefined && document.scripts.length === 0")
    assert HOSTILE.replace("\u202e", "\\u202e") in browser.run("document.body.innerText")
    assert browser.run("getComputedStyle(document.querySelector('.failed .verdict')).fontWeight") == "600"
    assert browser.complaints == []
