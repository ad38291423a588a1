"""Each recipe on a miniature of its corpus: who speaks and how, what it warns of, what stage 1 leaves."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import yaml
from miniatures import FRIENDS, MINIATURES, RECIPES, load, sound, table

from emotion import datadir, labels, splits

CORPORA = {recipe: load(recipe).CORPUS for recipe in MINIATURES}


@pytest.fixture
def miniature(tmp_path):
    """Makes the miniature of a recipe's corpus; returns its folder."""
    def make(recipe):
        MINIATURES[recipe](tmp_path / "corpora" / recipe)
        return tmp_path / "corpora" / recipe

    return make


@pytest.mark.parametrize(("recipe", "utterance", "speaker", "emotion", "sex"), [
    ("savee", "saveeDC-DC-sa01", "saveeDC", "sadness", "m"),
    ("emovo", "emovof1-gio-f1-b1", "emovof1", "happiness", "f"),
    ("casia", "casiawangzhe-wangzhe-angry-201", "casiawangzhe", "anger", None),
    ("jl_corpus", "jlfemale1-female1_excited_2a_2", "jlfemale1", "happiness", "f"),
    ("jl_corpus", "jlmale2-male2_apologetic_2a_2", "jlmale2", "unknown", "m"),
    ("esd", "esd0001-0001_000351", "esd0001", "anger", "f"),
    ("esd", "esd0020-0020_000001", "esd0020", "neutral", "m"),
    ("shemo", "shemoF01-F01S01", "shemoF01", "sadness", "f"),
    ("urdu", "urduSM3-SM3_F1_A01", "urduSM3", "anger", "m"),
    ("tess", "tessOA-OAF_back_ps", "tessOA", "surprise", "f"),
    ("tess", "tessOA-OA_bite_neutral", "tessOA", "neutral", "f"),
    ("cremad", "cremad1040-1040_ITH_SAD_X", "cremad1040", "sadness", "m"),
    ("iemocap", "iemocapSes02F-Ses02F_impro01_F000", "iemocapSes02F", "neutral", "f"),
    ("iemocap", "iemocapSes02M-Ses02F_impro01_M001", "iemocapSes02M", "happiness", "m"),
    ("iemocap", "iemocapSes05M-Ses05M_script01_1b_M002", "iemocapSes05M", "unknown", "m"),
    ("meld", "meldMr_Heckles-train-dia0_utt6", "meldMr_Heckles", "happiness", None),
    ("meld", "meldRoss-test-dia0_utt5", "meldRoss", "neutral", "m"),
    ("meld", "meldJoey-train-dia0_utt98", "meldJoey", "happiness", "m"),   # who plays a doctor there
    ("msp_podcast", "msp2-MSP-PODCAST_0002_0003", "msp2", "unknown", "f"),
])
def test_the_published_layout_tells_who_speaks_and_how(recipe, utterance, speaker, emotion, sex, miniature):
    found = {u.id: u for u in CORPORA[recipe].utterances(miniature(recipe))}
    assert (found[utterance].speaker, found[utterance].emotion, found[utterance].sex) == (speaker, emotion, sex)


@pytest.mark.parametrize("recipe", MINIATURES)
def test_nothing_of_a_miniature_is_missed_and_nothing_counted_twice(recipe, miniature, capsys):
    expected = {"savee": 28, "emovo": 30, "casia": 24, "jl_corpus": 24, "esd": 40, "shemo": 24, "urdu": 33, "tess": 13,
                "cremad": 93, "iemocap": 30, "meld": 31, "msp_podcast": 7}
    folder = miniature(recipe)
    assert len(CORPORA[recipe].utterances(folder)) == len(CORPORA[recipe].utterances(folder.parent)) == expected[recipe]
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("recipe", "total", "of_class"), [
    ("savee", 480, {"neutral": 120}), ("emovo", 588, {"anger": 84}), ("casia", 1200, {"fear": 200}),
    ("jl_corpus", 2400, {"happiness": 480, "unknown": 1200}), ("esd", 35000, {"surprise": 7000}),
    ("shemo", 3000, {"fear": 38}), ("urdu", 400, {"anger": 100}), ("tess", 2800, {"surprise": 400}),
    ("cremad", 7442 - 4, {"neutral": 1086}), ("meld", 13708 - 2, {"neutral": 6434}),
    ("iemocap", 10039, {"neutral": 1708, "happiness": 1636, "anger": 1103, "sadness": 1084}),
])
def test_the_totals_are_those_published(recipe, total, of_class, capsys):
    corpus, counts = CORPORA[recipe], Counter()
    for code, name in corpus.names().items():
        counts[name] += corpus.published.get(code, 0)
    assert counts.total() == total and {name: counts[name] for name in of_class} == of_class
    voices = [f"s{n}" for n in range(corpus.speakers or 7)]
    everything = [datadir.Utterance(f"{voices[i % len(voices)]}-{name}{i}", voices[i % len(voices)], "a.wav", name)
                  for name, count in counts.items() for i in range(count)]
    corpus.compare(everything)
    assert "warning" not in capsys.readouterr().err
    corpus.compare(everything[1:])
    assert "not the published numbers" in capsys.readouterr().err


def test_the_four_classes_of_iemocap_are_5531():
    corpus, classes = CORPORA["iemocap"], labels.scheme("iemocap4").mapping
    assert sum(count for code, count in corpus.published.items() if corpus.names()[code] in classes) == 5531


@pytest.mark.parametrize("recipe", [*MINIATURES, "template"])
def test_every_label_of_a_recipe_is_canonical(recipe):
    names = yaml.safe_load((RECIPES / recipe / "conf/labels.yaml").read_text())
    assert all(isinstance(code, str) and labels.check(name) for code, name in names.items())


@pytest.mark.parametrize("recipe", [*MINIATURES, "template"])
def test_a_recipe_says_what_was_measured_and_where_the_corpus_is_from(recipe):
    assert "Nothing" in (RECIPES / recipe / "RESULTS.md").read_text()
    assert "./run.sh" in (RECIPES / recipe / "README.md").read_text()


# Each corpus's own traps

def test_the_talker_of_iemocap_is_the_letter_before_the_turn(miniature):
    for u in CORPORA["iemocap"].utterances(miniature("iemocap")):
        assert u.speaker[-1] == u.id.rpartition("_")[2][0]


def test_iemocaps_listeners_vote_and_its_actors_do_not(miniature):
    found = {u.id: u for u in CORPORA["iemocap"].utterances(miniature("iemocap"))}
    assert found["iemocapSes01F-Ses01F_impro01_F000"].votes == (("neutral", 3), ("unknown", 1))
    assert found["iemocapSes01M-Ses01F_impro01_M001"].votes == (("anger", 1), ("happiness", 2))


def test_iemocaps_ratings_go_from_0_to_1_and_one_beyond_the_scale_is_held_to_it(miniature):
    found = {u.id: u for u in CORPORA["iemocap"].utterances(miniature("iemocap"))}
    excited = found["iemocapSes01M-Ses01F_impro01_M001"]
    assert (excited.valence, excited.arousal, excited.dominance) == (0.75, 1.0, 0.0)


@pytest.mark.parametrize(("kind", "word"), [("improvised", "_impro"), ("scripted", "_script")])
def test_iemocap_can_be_cut_to_one_kind_of_dialogue(kind, word, miniature, capsys):
    corpus = dataclasses.replace(CORPORA["iemocap"], kind=kind)
    found = corpus.utterances(miniature("iemocap"))
    assert len(found) == 15 and all(word in u.id for u in found)
    corpus.compare(found)   # no numbers are known for it
    assert "warning" not in capsys.readouterr().err


def test_crema_d_has_the_votes_of_those_who_only_heard_and_passes_over_what_is_broken(miniature):
    for folder in (miniature("cremad"), miniature("cremad") / "CREMA-D/AudioWAV"):
        found = {u.id: u for u in CORPORA["cremad"].utterances(folder)}
        assert found["cremad1001-1001_DFA_ANG_XX"].votes == (("anger", 2), ("disgust", 1))
        assert found["cremad1002-1002_DFA_ANG_XX"].votes == ()
        assert not any("1076_MTI_SAD_XX" in u for u in found)
        assert all(u.wav.endswith(".wav") for u in found.values())


def test_meld_keeps_clips_of_one_name_in_three_parts_apart_and_leaves_out_several_people_at_once(
    miniature, tmp_path, capsys,
):
    found = CORPORA["meld"].utterances(miniature("meld"))
    assert Counter(u.id.split("-")[1] for u in found) == {"train": 11, "dev": 10, "test": 10}
    CORPORA["meld"].write(tmp_path / "data", found)
    assert {u.speaker for u in datadir.read(tmp_path / "data")} == {f"meld{name}" for name in (*FRIENDS, "Mr_Heckles")}
    assert "9 utterances of several people at once" in capsys.readouterr().out


def test_msp_podcast_divides_known_speakers_as_published_and_counts_what_it_leaves_out(miniature, tmp_path, capsys):
    corpus = dataclasses.replace(CORPORA["msp_podcast"], parts={})
    found = corpus.utterances(miniature("msp_podcast"))
    out = capsys.readouterr().out
    assert "1 recordings of unknown speakers" in out and "1 recordings of speakers who are in another part too" in out
    corpus.write(tmp_path / "data/all", found)
    assert dict(datadir.read_table(tmp_path / "data/spk2part")) == {
        "msp1": "train", "msp2": "train", "msp4": "valid", "msp5": "test",
    }


def test_msp_podcast_tests_on_the_other_part_and_trains_on_unknown_voices_if_asked(miniature):
    corpus = dataclasses.replace(CORPORA["msp_podcast"], test="Test2", unknown="train", parts={})
    assert {u.speaker for u in corpus.utterances(miniature("msp_podcast"))} == {
        "msp1", "msp2", "mspunknown0003", "msp4", "msp6",
    }
    assert corpus.parts["mspunknown0003"] == "train" and corpus.parts["msp6"] == "test"


def test_msp_podcasts_ratings_go_from_0_to_1_and_its_votes_are_counted(miniature):
    found = {u.id: u for u in CORPORA["msp_podcast"].utterances(miniature("msp_podcast"))}
    angry = found["msp1-MSP-PODCAST_0001_0001"]
    assert (angry.arousal, angry.valence, angry.dominance) == (1.0, 0.0, 0.75)
    assert found["msp1-MSP-PODCAST_0001_0000"].votes == (("neutral", 2), ("unknown", 1))


def test_msp_podcasts_votes_may_stand_in_a_column_of_their_own(miniature):
    folder = miniature("msp_podcast")
    table(folder / "MSP-Podcast/Labels/labels_detailed.csv", ("FileName", "EmoClass_Major"),
          *(("MSP-PODCAST_0001_0001.wav", word) for word in ("Angry", "Angry", "Contempt")))
    found = {u.id: u.votes for u in CORPORA["msp_podcast"].utterances(folder)}
    assert found["msp1-MSP-PODCAST_0001_0001"] == (("anger", 2), ("unknown", 1))


def test_recordings_that_a_table_names_and_that_are_missing_are_counted(miniature, capsys):
    folder = miniature("msp_podcast")
    (folder / "MSP-Podcast/Audios/MSP-PODCAST_0002_0002.wav").unlink()
    CORPORA["msp_podcast"].utterances(folder)
    assert "1 of 7 recordings that the table names are not there: MSP-PODCAST_0002_0002" in capsys.readouterr().err


@pytest.mark.parametrize(("recipe", "found"), [("savee", "DC_a01.wav"), ("emovo", "DIS-F1-B1.wav")])
def test_copies_with_other_names_are_read_where_their_names_still_tell(recipe, found, tmp_path):
    sound(tmp_path / found)
    if recipe == "savee":
        assert [u.speaker for u in CORPORA[recipe].utterances(tmp_path)] == ["saveeDC"]
    else:
        with pytest.raises(FileNotFoundError, match="dis-f1-b1.wav.* Give the folder EMOVO"):
            CORPORA[recipe].utterances(tmp_path)


def test_tess_twice_in_one_copy_counts_once(miniature, capsys):
    folder = miniature("tess")
    shutil.copytree(folder / "TESS", folder / "TESS/TESS")
    assert len(CORPORA["tess"].utterances(folder)) == 13
    assert "13 files have a name that is there already" in capsys.readouterr().err


# What cannot be

def spoken(seconds, speakers=5, emotions=("anger", "fear"), wav="a.wav"):
    """An utterance of each length, of speakers and emotions in turn."""
    return [datadir.Utterance(f"s{i % speakers}-{i}", f"s{i % speakers}", wav, emotions[i // speakers % len(emotions)],
                              duration_seconds=length) for i, length in enumerate(seconds)]


def test_a_resampled_copy_is_told_with_both_rates(tmp_path, capsys):
    sound(tmp_path / "a.wav", 8000)
    emodb = load("emodb").CORPUS
    emodb.doubt(spoken([1.0] * 3, wav=str(tmp_path / "a.wav")))
    assert "3 of 3 recordings are at 8000 Hz, published at 16000: this copy was resampled" in capsys.readouterr().err
    sound(tmp_path / "a.wav", 16000)
    emodb.doubt(spoken([1.0] * 3, wav=str(tmp_path / "a.wav")))
    assert capsys.readouterr().err == ""


def test_a_copy_cut_to_two_seconds_is_told_and_one_of_natural_lengths_is_not(capsys):
    natural = [1.2 + 0.11 * i for i in range(40)]
    corpus = dataclasses.replace(CORPORA["savee"], rate=0)
    corpus.doubt(spoken(natural))
    assert capsys.readouterr().err == ""
    corpus.doubt(spoken([min(length, 2.0) for length in natural]))
    assert "32 of 40 recordings last 2.00 s and none longer: this copy was cut" in capsys.readouterr().err
    dataclasses.replace(corpus, cut=True).doubt(spoken([min(length, 2.0) for length in natural]))
    assert capsys.readouterr().err == ""


def test_speakers_of_one_emotion_are_told_with_what_a_detector_of_voices_would_score(capsys):
    corpus = dataclasses.replace(CORPORA["urdu"], rate=0)
    utterances = [datadir.Utterance(f"s{n}-{i}", f"s{n}", "a.wav", emotion, duration_seconds=1.0)
                  for n, emotion in enumerate(("anger", "fear", "calm")) for i in range(10)]
    mixed = [*utterances, datadir.Utterance("s0-x", "s0", "a.wav", "fear", duration_seconds=1.0)]
    corpus.doubt(mixed)
    assert "2 of 3 speakers have a single emotion" in (said := capsys.readouterr().err)
    assert "is right on 97 % of these recordings" in said   # 30 of 31
    corpus.doubt(spoken([1.0] * 40))
    assert capsys.readouterr().err == ""


# Stage 1

@pytest.fixture
def recipes(tmp_path):
    """A copy of the recipes, and an emotion command that is this checkout's."""
    ignore = shutil.ignore_patterns("data", "exp", "downloads", "results", "__pycache__")
    shutil.copytree(RECIPES, tmp_path / "recipes", ignore=ignore)
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, arguments in (("python3", ""), ("emotion", "-m emotion ")):
        (bin / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (bin / name).chmod(0o755)
    path = f"{bin}{os.pathsep}{os.environ['PATH']}"

    def call(recipe, *arguments):
        return subprocess.run(
            ["bash", f"recipes/{recipe}/run.sh", *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(RECIPES.parent)}, timeout=60,
        )

    return call


@pytest.mark.parametrize("recipe", [name for name in MINIATURES if name != "tess"])
def test_stage_1_leaves_folds_that_share_no_speaker(recipe, recipes, miniature, tmp_path):
    done = recipes(recipe, "--stage", 1, "--stop-stage", 1, "--corpus", miniature(recipe))
    assert done.returncode == 0, done.stdout + done.stderr
    data, = (path.parent for path in (tmp_path / "recipes" / recipe / "data").glob("*/fold1"))
    made = tmp_path / "recipes" / recipe / f"data/{data.name}.yaml"
    split = splits.read(made if made.exists() else RECIPES / recipe / f"conf/splits/{data.name}.yaml")
    for k, (test, valid) in enumerate(split.folds, 1):
        parts = {name: datadir.read(data / f"fold{k}" / name) for name in ("train", "valid", "test")}
        assert {u.speaker for u in parts["test"]} == set(test) and {u.speaker for u in parts["valid"]} == set(valid)
        splits.check_disjoint(**parts)
    scheme = yaml.safe_load((RECIPES / recipe / "conf/serial.yaml").read_text())["scheme"]
    labels.scheme(scheme).indices(u.emotion for part in parts.values() for u in part)


def test_other_dialogues_are_other_folders(recipes, miniature, tmp_path):
    words = ("--stage", 1, "--stop-stage", 1, "--corpus", miniature("iemocap"))
    done = recipes("iemocap", *words, "--kind", "improvised", "--emotions", "")
    assert done.returncode == 0, done.stderr
    data = tmp_path / "recipes/iemocap/data/sessions5-all-improvised/fold1/test"
    assert {u.emotion for u in datadir.read(data)} == {"neutral", "happiness", "unknown"}
    assert datadir.read(data)[0].valence is not None and datadir.read(data)[0].votes
    refused = recipes("iemocap", "--stage", 1, "--stop-stage", 1, "--corpus", tmp_path, "--kind", "sung")
    assert refused.returncode and "invalid choice: 'sung'" in refused.stderr


def test_tess_trains_nothing(recipes, miniature, tmp_path):
    done = recipes("tess", "--stage", 1, "--stop-stage", 1, "--corpus", miniature("tess"))
    assert done.returncode == 0, done.stderr
    assert len(datadir.read(tmp_path / "recipes/tess/data/all")) == 13
    refused = recipes("tess", "--train-args=x")
    assert refused.returncode == 2 and "unknown option --train-args" in refused.stderr


@pytest.mark.parametrize("recipe", [*MINIATURES, "template"])
def test_without_a_corpus_stage_0_says_where_it_is_to_be_had(recipe, recipes, tmp_path):
    done = recipes(recipe, "--stop-stage", 0)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "nothing is fetched" in done.stderr and "--corpus DIR" in done.stderr
    (tmp_path / "recipes" / recipe / "downloads").mkdir()
    assert recipes(recipe, "--stop-stage", 0).returncode == 0
