"""What experiments reached: folds pooled, seeds side by side, ensembles, one row for each configuration."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from planted import planted

from emotion import results
from emotion.cli import main
from emotion.datadir import DataError
from emotion.posteriors import POSTERIORS, Posteriors
from emotion.ratings import Ratings


def test_the_results_are_pooled_over_folds_and_spread_over_seeds(tmp_path):
    table = {  # recalls of anger and fear, pooled: seed 1 2/4 and 2/2, seed 2 4/4 and 1/2
        "fold1/seed1": planted("a1 a2 a3", [0, 0, 1], [0, 1, 1]),
        "fold2/seed1": planted("b1 b2 b3", [0, 0, 1], [0, 1, 1]),
        "fold1/seed2": planted("a1 a2 a3", [0, 0, 1], [0, 0, 0]),
        "fold2/seed2": planted("b1 b2 b3", [0, 0, 1], [0, 0, 1]),
        "fold1.old/seed1": planted("a1 a2 a3", [0, 0, 1], [0, 0, 1]),  # set aside by somebody
    }
    for name, posteriors in table.items():
        (tmp_path / name).mkdir(parents=True)
        posteriors.write(tmp_path / name / POSTERIORS)
    lines = results.results(tmp_path).splitlines()
    assert lines[0] == "| | seed 1 | seed 2 | mean | spread |"
    rows = {name: cells for _, name, *cells, _ in (re.split(r" *\| *", line) for line in lines[2:-2])}
    assert rows["UAR %"] == ["75.0", "75.0", "75.0", "0.0"]
    assert rows["WAR %"] == ["66.7", "83.3", "75.0", "11.8"]  # (5/6 - 4/6) / sqrt(2)
    assert rows["recall anger %"] == ["50.0", "100.0", "75.0", "35.4"]
    assert rows["recall fear %"] == ["100.0", "50.0", "75.0", "35.4"]
    assert rows["macro F1 %"][:2] == ["66.7", "77.8"]  # 2/3 and 2/3; 8/9 and 2/3
    assert rows["ECE %"][:2] == ["23.3", "6.7"]  # confidence 0.9
    assert rows["NLL"][:2] == ["0.838", "0.472"]  # log 0.9 where right, log 0.1 where wrong
    assert lines[-1].startswith("2 folds pooled: 6 utterances of 2 test speakers; ")
    # a twice: recalls 50, 100 and 100, 0, mean 62.5; b twice: 50, 100 and 100, 100
    assert "UAR over speakers (mean of 2 seeds): 62.5 to 87.5. With fewer than 10 speakers an interval" in lines[-1]
    assert lines[-1].endswith("too narrow. Chance is 50.0.")


def test_a_single_seed_has_no_spread_and_an_absent_class_no_recall(tmp_path):
    (tmp_path / "fold1/seed3").mkdir(parents=True)
    planted("a1 b1", [0, 0], [0, 1]).write(tmp_path / "fold1/seed3" / POSTERIORS)
    lines = results.results(tmp_path).splitlines()
    assert "| UAR % | 50.0 | 50.0 | - |" in lines and "| recall fear % | - | - | - |" in lines


def test_what_must_be_said_of_scores_is_said_beside_them(tmp_path, capsys):
    told = {"one": {}, "own": {"transductive": True}, "old": {"transductive": False, "heard": ["a"]}}
    for name, scores in told.items():
        fold = tmp_path / name / "split" / "fold1" / "seed1"
        fold.mkdir(parents=True)
        planted("a1 b1", [0, 1], [0, 1]).write(fold / POSTERIORS)
        (fold / "scores.json").write_text(json.dumps(scores))
        assert ("Transductive: " in results.results(fold.parents[1])) == (name == "own")
        assert ("says nothing of new voices" in results.results(fold.parents[1])) == (name == "old")
    roots = [str(tmp_path / name / "split") for name in told]
    names = [line.split("|")[1].strip() for line in results.rows(roots).splitlines()[2:]]
    assert names == ["one", "own (transductive)", "old (heard)"]
    assert main(["compare", *roots[:2]]) == 0
    assert f"{roots[1]}: Transductive: " in capsys.readouterr().out


def test_trainings_with_other_settings_are_no_seeds_of_one_experiment(tmp_path):
    settings = "model:\n  width: 8\naugment:\n  low:\n  - 1.0\n  high:\n  - 2.0\nfit:\n  memory_gigabytes: 1\n"
    swapped = settings.replace("1.0", "3.0").replace("2.0", "1.0").replace("3.0", "2.0")
    for name, text in (
        ("seed1", settings), ("seed2", settings.replace("gigabytes: 1", "gigabytes: 2")),
        ("seed3", swapped.replace("width: 8", "width: 16")),
    ):
        (tmp_path / "fold1" / name).mkdir(parents=True)
        planted("a1 b1", [0, 1], [0, 1]).write(tmp_path / "fold1" / name / POSTERIORS)
        (tmp_path / "fold1" / name / "config.yaml").write_text(text)
        if name != "seed3":
            results.results(tmp_path)
    for table in (results.results, lambda root: results.rows([root])):
        with pytest.raises(DataError, match=r"seed3/config.yaml .* \(augment.high, augment.low, model.width\).*--conf"):
            table(tmp_path)


def test_seeds_that_cover_different_folds_are_refused(tmp_path):
    for name in ("fold1/seed1", "fold2/seed1", "fold1/seed2"):
        (tmp_path / name).mkdir(parents=True)
        planted("a1", [0], [0]).write(tmp_path / name / POSTERIORS)
    with pytest.raises(DataError, match=r"different folds \{1: \[1, 2\], 2: \[1\]\}"):
        results.results(tmp_path)


@pytest.mark.parametrize("other", [planted("a1 a2", [0, 1], [0, 1]), planted("a1 a2 a3", [0, 1, 1], [0, 1, 1]),
                                   planted("a1 a2 b3", [0, 1, 0], [0, 1, 0])])
@pytest.mark.parametrize("how", [results.results, lambda root: results.results(root, ensemble=True),
                                 lambda root: results.rows([root])])
def test_seeds_that_tested_other_utterances_or_know_others_as_the_truth_are_refused(tmp_path, other, how):
    for seed, posteriors in enumerate((planted("a1 a2 a3", [0, 1, 0], [0, 1, 1]), other), 1):
        (tmp_path / f"fold1/seed{seed}").mkdir(parents=True)
        posteriors.write(tmp_path / f"fold1/seed{seed}" / POSTERIORS)
    with pytest.raises(DataError):
        how(tmp_path)


def test_rows_of_two_splits_are_told_apart(tmp_path):
    for split in ("luna5", "emobox6"):
        (tmp_path / "serial" / split / "fold1/seed1").mkdir(parents=True)
        planted("a1 a2", [0, 1], [0, 1]).write(tmp_path / "serial" / split / "fold1/seed1" / POSTERIORS)
    lines = results.rows([tmp_path / "serial" / split for split in ("luna5", "emobox6")]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| serial/luna5", "| serial/emobox6"]
    assert results.rows([tmp_path / "serial" / "luna5"]).splitlines()[2].startswith("| serial | 1 |")


def test_a_folder_without_posteriors_is_refused(tmp_path):
    with pytest.raises(DataError, match="Run `emotion evaluate` first"):
        results.results(tmp_path)


# many models

def seeds_of(root: Path, *members: Posteriors, fold: int = 1) -> Path:
    for seed, member in enumerate(members, 1):
        folder = root / f"fold{fold}" / f"seed{seed}"
        folder.mkdir(parents=True)
        member.write(folder / "posteriors.csv")
    return root


def test_an_ensemble_answers_by_the_mean_of_its_members(tmp_path):
    """Each is wrong about one of three utterances, and less sure there than the other two are right."""
    members = [planted("a-1 b-1 b-2", [0, 1, 0], wrong, share) for wrong, share in (
        ([1, 1, 0], 0.7), ([0, 0, 0], 0.7), ([0, 1, 1], 0.7))]
    mean = Posteriors.mean(members)
    assert mean.probabilities.argmax(1).tolist() == [0, 1, 0]
    assert mean.probabilities[0] == pytest.approx([(0.3 + 0.7 + 0.7) / 3, (0.7 + 0.3 + 0.3) / 3])
    roots = seeds_of(tmp_path / "a", *members[:2]), seeds_of(tmp_path / "b", members[2])
    table = results.results(*roots, ensemble=True)
    assert "| | ensemble | mean | spread |" in table and "| UAR % | 100.0 | 100.0 | - |" in table


def test_the_dimensions_of_an_ensemble_are_told_where_all_its_members_have_some(tmp_path):
    answers, true = planted("a-1 a-2 b-1", [0, 1, 0], [0, 1, 0]), np.array([[0.2], [0.5], [0.8]])
    seeds_of(tmp_path, answers, answers)
    for seed, said in ((1, true + 0.1), (2, true - 0.1)):
        ratings = Ratings(answers.utterances, answers.speakers, ("arousal",), true, said)
        ratings.write(tmp_path / f"fold1/seed{seed}/dimensions.csv")
    assert "| CCC arousal | 1.000 | 1.000 | - |" in results.results(tmp_path, ensemble=True)
    (tmp_path / "fold1/seed2/dimensions.csv").unlink()
    assert "CCC" not in results.results(tmp_path, ensemble=True)


def test_configurations_are_compared_in_rows_with_what_they_cost(tmp_path):
    right, wrong = planted("a-1 b-1", [0, 1], [0, 1]), planted("a-1 b-1", [0, 1], [1, 0])
    seeds_of(tmp_path / "good" / "split", right)
    seeds_of(tmp_path / "mixed" / "split", right, wrong)
    for seed, seconds in ((1, 30), (2, 60)):
        (tmp_path / f"mixed/split/fold1/seed{seed}/epochs.csv").write_text(f"epoch,seconds\n0,{seconds}\n1,{seconds}\n")
    (tmp_path / "mixed/split/fold1.old/seed1").mkdir(parents=True)   # moved out of the way
    (tmp_path / "mixed/split/fold1.old/seed1/epochs.csv").write_text("epoch,seconds\n0,6000\n")
    *_, good, mixed = results.rows([tmp_path / "good" / "split", tmp_path / "mixed" / "split"]).splitlines()
    assert good == "| good | 1 | 1 | 100.0 | - | 100.0 | 10.0 | - |"
    assert mixed.startswith("| mixed | 1 | 2 | 50.0 | 70.7 | 50.0 |") and mixed.endswith("| 1.5 |")


def test_rows_tell_the_dimensions_of_the_configurations_that_have_some(tmp_path):
    answers, true = planted("a-1 a-2 b-1", [0, 1, 0], [0, 1, 0]), np.array([[0.2], [0.5], [0.8]])
    roots = [seeds_of(tmp_path / name / "split", answers, answers) for name in ("named", "rated")]
    for seed, said in ((1, true), (2, true[::-1])):   # CCC 1 and -1
        ratings = Ratings(answers.utterances, answers.speakers, ("arousal",), true, said)
        ratings.write(roots[1] / f"fold1/seed{seed}/dimensions.csv")
    header, _, named, rated = results.rows(roots).splitlines()
    assert "| ECE % | CCC arousal | minutes a fold |" in header
    assert named.endswith("| 10.0 | - | - |") and rated.endswith("| 10.0 | 0.000 | - |")


def test_an_ensemble_of_unequal_folds_is_refused(tmp_path):
    seeds_of(tmp_path, planted("a-1", [0], [0]), planted("a-1", [0], [1]))
    seeds_of(tmp_path, planted("b-1", [0], [0]), fold=2)
    with pytest.raises(DataError, match="seeds cover different folds"):
        results.results(tmp_path, ensemble=True)
    with pytest.raises(DataError, match="seeds cover different folds"):
        results.rows([tmp_path])
    other = seeds_of(tmp_path / "other", planted("a-1", [0], [0]))
    both = seeds_of(seeds_of(tmp_path / "both", planted("a-1", [0], [0])), planted("b-1", [0], [0]), fold=2)
    with pytest.raises(DataError, match="the folders cover different folds"):
        results.results(other, both, ensemble=True)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a pipe without a reader is another error")
def test_a_reader_that_has_enough_ends_the_command_quietly(tmp_path):
    """As `emotion results exp | head` does."""
    nobody, pipe = os.pipe()
    os.close(nobody)
    command = [sys.executable, "-m", "emotion", "results", seeds_of(tmp_path, planted("a-1 b-1", [0, 1], [0, 1]))]
    done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    assert done.returncode == 1 and done.stderr == b""


def test_several_folders_are_no_one_table(tmp_path):
    with pytest.raises(DataError, match="Give one, or --ensemble"):
        results.results(tmp_path, tmp_path)


def test_seeds_may_tell_their_utterances_in_any_order(tmp_path):
    whole = planted("a1 a2 b1 b2", [0, 1, 0, 1], [0, 0, 0, 1])
    turned = planted("b2 b1 a2 a1", [1, 0, 1, 0], [1, 0, 0, 0])
    roots = [seeds_of(tmp_path / "alike", whole, whole), seeds_of(tmp_path / "turned", whole, turned)]
    assert results.results(roots[0]) == results.results(roots[1])
