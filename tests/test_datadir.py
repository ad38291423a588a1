import dataclasses
import os
from collections import Counter

import pytest
from utterances import corpus, spans

from emotion import datadir, labels, splits
from emotion.datadir import DataError, Utterance


def with_sex(utterances, **sexes):
    """The same utterances by speakers of these sexes."""
    return [dataclasses.replace(u, sex=sexes.get(u.speaker)) for u in utterances]


def rated(utterances):
    """The same utterances as listeners rated them, the first by nobody, the second in part."""
    first, second, *rest = utterances
    known = {"arousal": 0, "valence": 0.25, "dominance": 1.0, "votes": {"fear": 1, "calm": 2}}
    return [first, dataclasses.replace(second, valence=1 / 3), *(dataclasses.replace(u, **known) for u in rest)]


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


# known answer

def test_a_directory_holds_kaldis_tables(tmp_path):
    datadir.write(tmp_path, [
        Utterance("b-1", "b", "x y.wav", "fear", duration_seconds=2),
        Utterance("a-1", "a", "ü.wav", "calm", duration_seconds=0.5),
        Utterance("a-2", "a", "z.wav", "fear", duration_seconds=1),
    ])
    assert {name: text.decode() for name, text in content(tmp_path).items()} == {
        "wav.scp": "a-1 ü.wav\na-2 z.wav\nb-1 x y.wav\n",
        "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
        "spk2utt": "a a-1 a-2\nb b-1\n",
        "utt2emotion": "a-1 calm\na-2 fear\nb-1 fear\n",
        "utt2dur": "a-1 0.5\na-2 1.0\nb-1 2.0\n",
    }


def test_spans_share_the_recording_of_their_first_utterance(tmp_path):
    datadir.write(tmp_path, spans("long.wav", "a", [0, 1.5, 4]))
    assert (tmp_path / "wav.scp").read_text() == "a-0 long.wav\n"
    assert (tmp_path / "segments").read_text() == "a-0 a-0 0.0 1.5\na-1 a-0 1.5 4.0\n"


def test_utterances_are_sorted_by_bytes_and_not_by_locale(tmp_path):
    ids = ["a-Z", "a-a", "a-é", "a-ｚ", "a-😀"]   # UTF-16 would put the last one before the last but one
    datadir.write(tmp_path, [Utterance(name, "a", "x.wav", "calm") for name in reversed(ids)])
    assert [u.id for u in datadir.read(tmp_path)] == ids


def test_durations_are_written_only_when_all_are_known(tmp_path):
    known = Utterance("a-1", "a", "x.wav", "calm", duration_seconds=1.0)
    datadir.write(tmp_path, [known, Utterance("a-2", "a", "y.wav", "calm")])
    assert not (tmp_path / "utt2dur").exists()


def test_the_sex_of_each_speaker_is_a_line_of_kaldis_spk2gender(tmp_path):
    utterances = with_sex(corpus(tmp_path / "wav"), s1="f", s2="m", s10="f")
    datadir.write(tmp_path / "data", utterances)
    assert (tmp_path / "data/spk2gender").read_text() == "s1 f\ns10 f\ns2 m\n"


def test_sex_is_written_only_when_that_of_every_utterance_is_known(tmp_path):
    utterances = corpus(tmp_path / "wav")
    mixed = [dataclasses.replace(u, sex=None if n == 3 else "m") for n, u in enumerate(utterances)]
    for unknown in (utterances, with_sex(utterances, s1="f", s2="m"), mixed):
        datadir.write(tmp_path / "data", with_sex(utterances, s1="f", s2="m", s10="f"))
        datadir.write(tmp_path / "data", unknown)
        assert not (tmp_path / "data/spk2gender").exists()


def test_a_speakers_sex_goes_wherever_the_utterance_goes(tmp_path):
    sexes = {"s1": "f", "s2": "m", "s10": "f"}
    utterances = with_sex(corpus(tmp_path), **sexes)
    parts = splits.divide(utterances, test=["s1"], valid=["s10"])
    for part in (datadir.combine([utterances]), datadir.subset(utterances, per_class=3), *parts.values()):
        assert {(u.speaker, u.sex) for u in part} == {(u.speaker, sexes[u.speaker]) for u in part}


def test_ratings_and_votes_are_tables_where_some_are_known(tmp_path):
    whole = corpus(tmp_path / "wav")[:3]
    datadir.write(tmp_path / "data", rated(whole))
    third = sorted(u.id for u in whole)[2]
    tables = {name: (tmp_path / "data" / name).read_text().splitlines() for name in ("utt2valence", "utt2votes")}
    assert [line.split()[1] for line in tables["utt2valence"]] == ["-", str(1 / 3), "0.25"]
    assert tables["utt2votes"][2] == f"{third} calm:2 fear:1" and tables["utt2votes"][0].endswith(" -")
    datadir.write(tmp_path / "data", whole)
    assert not {path.name for path in (tmp_path / "data").iterdir()} & {"utt2valence", "utt2arousal", "utt2votes"}


def test_ratings_and_votes_go_wherever_the_utterance_goes(tmp_path):
    utterances = rated(corpus(tmp_path))
    known = {u.id: (u.arousal, u.valence, u.dominance, u.votes) for u in utterances}
    parts = splits.divide(utterances, test=["s1"], valid=["s10"])
    for part in (datadir.combine([utterances]), datadir.subset(utterances, per_class=3), *parts.values()):
        assert all((u.arousal, u.valence, u.dominance, u.votes) == known[u.id] for u in part)


def test_writing_again_leaves_nothing_of_the_earlier_tables(tmp_path):
    datadir.write(tmp_path / "both", with_sex(spans("long.wav", "a", [0, 1, 2]), a="m"))
    for directory in ("both", "one"):
        datadir.write(tmp_path / directory, [Utterance("a-1", "a", "x.wav", "calm")])
    assert content(tmp_path / "both") == content(tmp_path / "one")


def test_a_whole_recording_among_spans_becomes_the_span_of_its_duration(tmp_path):
    whole = Utterance("b-1", "b", "b.wav", "fear", duration_seconds=3.0)
    datadir.write(tmp_path, [*spans("a.wav", "a", [0, 1]), whole])
    assert datadir.read(tmp_path)[1] == Utterance("b-1", "b", "b.wav", "fear", 0.0, 3.0)


def test_a_subset_per_class_takes_every_emotion_and_spreads_over_speakers(tmp_path):
    few = datadir.subset(corpus(tmp_path), per_class=3)
    assert Counter(u.emotion for u in few) == {"anger": 3, "neutral": 3}
    assert {u.speaker for u in few} == {"s1", "s10", "s2"}


def test_a_class_smaller_than_asked_is_kept_whole(tmp_path):
    utterances = corpus(tmp_path)
    assert datadir.subset(utterances, per_class=100) == datadir.combine([utterances])


def test_a_subset_keeps_the_speakers_and_emotions_asked_for(tmp_path):
    few = datadir.subset(corpus(tmp_path), speakers=["s2", "s10"], emotions=["anger"], first=3)
    assert [u.id for u in few] == ["s10-anger-0", "s10-anger-1", "s2-anger-0"]
    rest = datadir.subset(corpus(tmp_path), without_speakers=["s2", "s10"])
    assert {u.speaker for u in rest} == {"s1"}
    both = datadir.subset(corpus(tmp_path), speakers=["s1", "s2"], without_speakers=["s10"])   # who is not among them
    assert {u.speaker for u in both} == {"s1", "s2"}


# round trip

@pytest.mark.parametrize("kind", ["whole", "spans", "no durations", "sexes", "ratings", "odd names"])
def test_what_is_written_is_read_back(tmp_path, kind):
    names = ["two  spaces.wav", "nb\u00a0sp.wav", "line\u2028sep.wav", "latin-\udce9.wav", "-"]
    utterances = {
        "whole": corpus(tmp_path / "wav"),
        "spans": spans("a.wav", "a", [0.1, 1 / 3, 2e-5 + 1]) + spans("b.wav", "b", [0, 7.25]),
        "no durations": [dataclasses.replace(u, duration_seconds=None) for u in corpus(tmp_path / "wav")],
        "sexes": with_sex(corpus(tmp_path / "wav"), s1="f", s2="m", s10="f"),
        "ratings": rated(corpus(tmp_path / "wav")),
        "odd names": [Utterance(f"a-{n}", "a", wav, "calm") for n, wav in enumerate(names)],
    }[kind]
    datadir.write(tmp_path / "data", reversed(utterances))
    assert datadir.read(tmp_path / "data") == sorted(utterances, key=lambda u: u.id.encode())
    before = content(tmp_path / "data")
    datadir.write(tmp_path / "data", datadir.read(tmp_path / "data"))
    assert content(tmp_path / "data") == before


def test_a_directory_is_read_whatever_the_order_of_its_tables(tmp_path):
    datadir.write(tmp_path / "data", corpus(tmp_path / "wav"))
    expected = datadir.read(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        path.write_text("\n".join(reversed(path.read_text().splitlines())))
    assert datadir.read(tmp_path / "data") == expected


def test_an_interrupted_write_leaves_the_old_table(tmp_path, monkeypatch):
    datadir.write(tmp_path, corpus(tmp_path / "wav"))
    before = (tmp_path / "utt2spk").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        datadir.write(tmp_path, corpus(tmp_path / "wav", speakers=["s3"]))
    assert (tmp_path / "utt2spk").read_bytes() == before


def test_a_pipe_gives_what_its_command_prints(tmp_path):
    datadir.write(tmp_path, [Utterance("a-1", "a", "printf 'RIFF%s' 1234 |", "calm")])
    utterance, = datadir.read(tmp_path, allow_pipes=True)
    assert datadir.open_wav(utterance).read() == b"RIFF1234"
    assert datadir.open_wav(dataclasses.replace(utterance, wav="x.wav")) == "x.wav"


# refusal

def test_a_pipe_is_refused_unless_asked_for_and_never_run(tmp_path):
    datadir.write(tmp_path, [Utterance("a-1", "a", f"touch {tmp_path / 'ran'} |", "calm")])
    with pytest.raises(DataError, match="allow_pipes=True if you trust"):
        datadir.read(tmp_path)
    datadir.read(tmp_path, allow_pipes=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command, said", [("echo broken >&2; false |", "broken"), ("true |", "0 bytes")])
def test_a_pipe_that_fails_or_prints_nothing_is_an_error(command, said):
    with pytest.raises(DataError, match=f"{said}.*Run it by hand"):
        datadir.open_wav(Utterance("a-1", "a", command, "calm"))


@pytest.mark.parametrize("field, value, remedy", [
    ("id", "a 1", "Rename it"),
    ("id", "", "Rename it"),
    ("speaker", "a\n", "Rename it"),
    ("wav", "", "Write the path out"),
    ("wav", "~/x.wav", "Write the path out"),
    ("wav", " x.wav", "Write the path out"),
    ("wav", "x\ny.wav", "Write the path out"),
    ("start_seconds", 1.0, "neither for the whole"),
    ("stop_seconds", 1.0, "neither for the whole"),
    ("duration_seconds", 0.0, "above 0"),
    ("duration_seconds", float("nan"), "above 0"),
    ("sex", "male", "must be m or f.*leave it out"),
    ("sex", "", "must be m or f"),
    ("arousal", -0.1, "from 0 to 1. Rescale"),
    ("valence", 3.5, "from 0 to 1. Rescale"),
    ("dominance", float("nan"), "from 0 to 1. Rescale"),
])
def test_a_field_that_the_tables_cannot_hold_is_refused(field, value, remedy):
    good = Utterance("a-1", "a", "x.wav", "calm")
    with pytest.raises(DataError, match=remedy):
        dataclasses.replace(good, **{field: value})


@pytest.mark.parametrize("start, stop", [(2, 1), (1, 1), (-1, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_span_without_time_in_it_is_refused(start, stop):
    with pytest.raises(DataError, match="0 <= start < stop"):
        Utterance("a-1", "a", "x.wav", "calm", start, stop)


def test_an_unknown_emotion_is_refused_with_the_nearest_name():
    with pytest.raises(labels.LabelError, match="happiness"):
        Utterance("a-1", "a", "x.wav", "happines")


@pytest.mark.parametrize("name, text, kind, remedy", [
    ("utt2emotion", "a-1 calm\na-2 angry\n", labels.LabelError, "a-2: unknown emotion 'angry'.*anger"),
    ("utt2emotion", "a-1 calm\n", DataError, "utt2emotion and utt2spk.*: a-2. .*emotion data fix"),
    ("utt2emotion", "a-1 calm\na-2\n", DataError, "lines without a value"),
    ("utt2spk", "a-1 a\na-1 a\n", DataError, "an id twice"),
    ("utt2spk", "a-1 a\n\na-2 a\n", DataError, "lines without a value"),
    ("wav.scp", "", DataError, "lines without a value"),
    ("wav.scp", "a-1 x.wav\n", DataError, "identical utterance-id lists: a-2"),
    ("utt2dur", "a-1 1\na-2 long\n", DataError, "a-2: .*long"),
    ("utt2dur", "a-1 1\na-2 -1\n", DataError, "above 0"),
    ("spk2gender", "b m\n", DataError, "spk2gender and utt2spk.*speaker-id lists: a, b. .*emotion data fix"),
    ("spk2gender", "a w\n", DataError, "a-1: sex 'w' of a must be m or f"),
    ("utt2arousal", "a-1 0.5\na-2 3\n", DataError, "a-2: arousal 3.0 of a-2 must be from 0 to 1"),
    ("utt2votes", "a-1 -\na-2 calm\n", labels.LabelError, "a-2: votes 'calm' must be like anger:3"),
    ("segments", "a-1 a-1 0 1\na-2 a-9 0 1\n", DataError, "a-9, which wav.scp lacks"),
    ("segments", "a-1 a-1 0 1\na-2 a-2 0\n", DataError, "needs <recording> <start> <end>"),
    ("segments", "a-1 a-1 0 1\na-2 a-2 0 x\n", DataError, "needs <recording> <start> <end>"),
    ("segments", "a-1 a-1 0 1\na-2 a-2 2 1\n", DataError, "0 <= start < stop"),
])
def test_a_table_that_would_mislead_is_refused(tmp_path, name, text, kind, remedy):
    datadir.write(tmp_path, [Utterance(u, "a", "x.wav", "calm", duration_seconds=1) for u in ("a-1", "a-2")])
    (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=remedy):
        datadir.read(tmp_path)


@pytest.mark.parametrize("name", ["wav.scp", "utt2spk", "utt2emotion"])
def test_a_directory_without_its_tables_is_refused(tmp_path, name):
    datadir.write(tmp_path, [Utterance("a-1", "a", "x.wav", "calm")])
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"no such file .*{name}"):
        datadir.read(tmp_path)


@pytest.mark.parametrize("utterances, remedy", [
    ([], "Check what selects them"),
    ([("a-1", "a"), ("a-1", "a")], "Drop one"),
    ([("x-1", "a")], "making speaker-ids prefixes"),
    ([("s1_a", "s1"), ("s10_a", "s10")], "with '-' after them"),   # "_" sorts after "0": s10 before s1
])
def test_utterances_that_kaldi_would_not_sort_are_refused_before_writing(tmp_path, utterances, remedy):
    with pytest.raises(DataError, match=remedy):
        datadir.write(tmp_path / "data", [Utterance(u, spk, "x.wav", "calm") for u, spk in utterances])
    assert not (tmp_path / "data").exists()


def test_a_speaker_of_two_sexes_is_refused_before_writing(tmp_path):
    man, woman = (Utterance(f"a-{sex}", "a", "x.wav", "calm", sex=sex) for sex in "mf")
    with pytest.raises(DataError, match="speakers a are m and f.*Correct it, or rename one"):
        datadir.write(tmp_path / "data", datadir.combine([[man], [woman]]))
    assert not (tmp_path / "data").exists()


def test_a_whole_recording_of_unknown_length_among_spans_is_refused(tmp_path):
    with pytest.raises(DataError, match="duration_seconds"):
        datadir.write(tmp_path, [*spans("a.wav", "a", [0, 1]), Utterance("b-1", "b", "b.wav", "fear")])


@pytest.mark.parametrize("options, kind, remedy", [
    ({"speakers": ["s3"]}, DataError, "unknown speakers s3"),
    ({"without_speakers": ["s3"]}, DataError, "unknown speakers s3"),
    ({"without_speakers": ["s1", "s2", "s10"]}, DataError, "no utterances"),
    ({"emotions": ["angry"]}, labels.LabelError, "anger"),
    ({"emotions": ["fear"]}, DataError, "no utterances"),
    ({"first": 0}, DataError, "first=0 must be at least 1"),
    ({"per_class": -1}, DataError, "per_class=-1 must be at least 1"),
    ({"without_utterances": ["s9-x"]}, DataError, "unknown utterances s9-x.*ids as utt2spk"),
])
def test_a_subset_that_cannot_be_is_refused(tmp_path, options, kind, remedy):
    with pytest.raises(kind, match=remedy):
        datadir.subset(corpus(tmp_path), **options)


def test_combining_lists_that_share_an_id_is_refused(tmp_path):
    utterances = corpus(tmp_path)
    with pytest.raises(DataError, match="s1-anger-0 occur twice"):
        datadir.combine([utterances, utterances[:1]])
