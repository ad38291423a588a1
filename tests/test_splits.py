import dataclasses

import pytest
from utterances import corpus, spans

from emotion import datadir, splits
from emotion.datadir import DataError, Utterance

SPLIT = """
name: luna5
source: a paper
note: speakers as published
folds:
- {test: [s01, s02], valid: [s03]}
- {test: ["03"], valid: [s01]}
"""


def test_a_split_file_is_read(tmp_path):
    (tmp_path / "luna5.yaml").write_text(SPLIT)
    split = splits.read(tmp_path / "luna5.yaml")
    assert split == splits.Split("luna5", "a paper", ((("s01", "s02"), ("s03",)), (("03",), ("s01",))))


@pytest.mark.parametrize("old, new, remedy", [
    ("note:", "nots:", "nots.*It holds name, source, folds"),
    ("{test: [s01", "{tset: [s01", "tset.*It holds name"),
    ("source: a paper", "", "source.*It holds name"),
    (", valid: [s03]", "", "valid.*It holds name"),
    ("[s03]", "s03", "It holds name"),
    ("[s03]", "[]", "must name speakers for both"),
    ("[s03]", "[s02]", "none twice.*says nothing about new ones"),
    ("s01, s02", "s01, s01", "none twice"),
    ("name: luna5", "name: [", "is no split file"),
    (SPLIT, "- 1", "is no split file"),
    (SPLIT, "", "is no split file"),
    (SPLIT, "{name: a, source: b, folds: []}", "no folds.*List them"),
])
def test_a_split_file_with_a_fault_is_refused(tmp_path, old, new, remedy):
    assert old in SPLIT
    (tmp_path / "luna5.yaml").write_text(SPLIT.replace(old, new, 1))
    with pytest.raises(DataError, match=remedy):
        splits.read(tmp_path / "luna5.yaml")


def test_a_missing_split_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no split file"):
        splits.read(tmp_path / "none.yaml")


def test_a_speaker_who_is_no_name_is_refused(tmp_path):
    path = tmp_path / "split.yaml"
    path.write_text("name: n\nsource: s\nfolds: [{test: [{a: 1}], valid: ['b']}]")
    with pytest.raises(DataError, match="split.yaml.*Correct it"):
        splits.read(path)


@pytest.mark.parametrize("speaker", ["010", "03", "7", "1.50", "yes"])
def test_a_speaker_that_is_a_number_to_yaml_is_refused(tmp_path, speaker):
    (tmp_path / "split.yaml").write_text(f"name: n\nsource: s\nfolds: [{{test: [{speaker}], valid: ['b']}}]")
    with pytest.raises(DataError, match="numbers to YAML.*Write speakers in quotes"):
        splits.read(tmp_path / "split.yaml")
    (tmp_path / "split.yaml").write_text(f"name: n\nsource: s\nfolds: [{{test: ['{speaker}'], valid: ['b']}}]")
    assert splits.read(tmp_path / "split.yaml").folds == (((speaker,), ("b",)),)


def test_a_split_gives_each_speaker_to_one_side_and_loses_nobody(tmp_path):
    utterances = corpus(tmp_path)
    parts = splits.divide(utterances, test=["s1"], valid=["s10"])
    assert {name: {u.speaker for u in part} for name, part in parts.items()} == {
        "train": {"s2"}, "valid": {"s10"}, "test": {"s1"}
    }
    assert datadir.combine(parts.values()) == datadir.combine([utterances])
    splits.check_disjoint(**parts)


@pytest.mark.parametrize("test, valid, remedy", [
    (["s3"], ["s1"], "test: unknown speakers s3; there are s1, s10, s2"),
    (["s1"], ["s3"], "valid: unknown speakers s3"),
    (["s1", "s2"], ["s2"], "s2 are in test and in valid.*each speaker to one split"),
    (["s1", "s2"], ["s10"], "none is left to train on"),
])
def test_a_split_of_unknown_shared_or_all_speakers_is_refused(tmp_path, test, valid, remedy):
    with pytest.raises(DataError, match=remedy):
        splits.divide(corpus(tmp_path), test, valid)


def test_two_splits_that_share_a_speaker_are_refused(tmp_path):
    utterances = corpus(tmp_path)
    with pytest.raises(DataError, match="speaker s1 is in train and in test.*each speaker to one split"):
        splits.check_disjoint(train=utterances[1:], test=utterances[:1])


def test_two_splits_that_share_audio_are_refused_under_any_name_and_speaker(tmp_path):
    one, two = corpus(tmp_path / "one", speakers=["s1"]), corpus(tmp_path / "two", speakers=["s2"])
    splits.check_disjoint(train=one, test=two)
    (tmp_path / "two/s2-anger-0.wav").write_bytes((tmp_path / "one/s1-neutral-1.wav").read_bytes())
    with pytest.raises(DataError, match="s1-neutral-1 in train and s2-anger-0 in test are the same audio"):
        splits.check_disjoint(train=one, test=two)


def test_spans_of_one_recording_may_part_but_not_overlap(tmp_path):
    dialogue = tmp_path / "dialogue.wav"
    dialogue.write_text("two people")
    first = spans(dialogue, "a", [0, 2])
    splits.check_disjoint(train=first, test=spans(dialogue, "b", [2, 3]))
    for others in (spans(dialogue, "b", [1.9, 3]), [Utterance("b-1", "b", str(dialogue), "calm")]):
        with pytest.raises(DataError, match="the same audio"):
            splits.check_disjoint(train=first, test=others)


def test_one_pipe_in_two_splits_is_refused_without_running_it(tmp_path):
    one, other = (Utterance(f"{s}-1", s, f"touch {tmp_path / 'ran'} |", "calm") for s in "ab")
    splits.check_disjoint(train=[one], test=[dataclasses.replace(other, wav="true |")])
    with pytest.raises(DataError, match="the same audio"):
        splits.check_disjoint(train=[one], test=[other])
    assert not (tmp_path / "ran").exists()


def test_audio_that_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file gone.wav for a-1.*Correct wav.scp"):
        splits.check_disjoint(train=[Utterance("a-1", "a", "gone.wav", "calm")])
