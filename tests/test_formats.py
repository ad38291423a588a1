"""Segments go out in each format and come back as they were, through our readers or those of other people."""

import json
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet
import pytest
import webvtt
from praatio import textgrid
from pympi import Elan, Praat

from emotion import datacheck, datadir, formats
from emotion.analyzer import Analyzer, FileError
from emotion.formats import FormatError, NamedSpan, read, read_spans, to_dataframe, write
from emotion.timeline import Segment, Timeline

LABELS = ("anger", "neutral", "sadness")
SEGMENTS = (
    Segment(1.0, 2.346, "sadness", 0.5, (0.25, 0.25, 0.5)),
    Segment(0.0, 1.0, "anger", 0.75, (0.75, 0.125, 0.125)),
    Segment(4.5, 3661.75, "unknown", 0.375, (0.375, 0.375, 0.25)),
)
TURNS = (
    Segment(0.25, 2.0, "anger", 0.75, (0.75, 0.125, 0.125), "anna"),
    Segment(1.5, 3.0, "neutral", 0.5, (0.25, 0.5, 0.25), "ben"),
    Segment(3.0, 4.0, "neutral", 0.875, (0.125, 0.875, 0.0), "anna"),
)
HOSTILE = [
    "a b.wav", "tab\tin.wav", 'say "no".wav', "two\nlines.wav", "carriage\rreturn.wav", "next\x85line.wav",
    "line\u2028break.wav", "latin \udce4.wav", "żółć.wav", "\U0001f600.wav", "a --> b.wav", "<v x>&amp;.wav", "]]>",
    "<NA>", "100%.wav", "comma, semicolon;.wav", "#hash.wav", "a:b#c+d.wav", " edge ", "item [1]:",
    "SPEAKER x 1 0 1 <NA> <NA> anger 1 <NA>",
]
BROKEN = re.compile("[\t\n\r\x85\u2028\udce4]")   # what a format without escapes cannot hold
HELD = [".csv", ".jsonl", ".parquet", ".rttm", ".TextGrid", ".eaf", ".txt"]   # what read() reads


def timeline(name="call.wav", segments=SEGMENTS, channel=None, duration=3662.0, labels=LABELS) -> Timeline:
    return Timeline(
        name=name, labels=labels, duration_seconds=duration, probabilities=np.array([0.5, 0.25, 0.25]),
        step_times=np.array([0.5]), step_probabilities=np.array([[0.5, 0.25, 0.25]]), step_speech=np.array([1.0]),
        segments=segments, flags=("clipped",), channel=channel,
    )


def spoken(answer: Timeline) -> list[tuple]:
    """What every format holds of an answer."""
    parts = sorted(answer.segments, key=lambda part: (part.start_seconds, part.end_seconds))
    return [(part.start_seconds, part.end_seconds, part.label, part.speaker) for part in parts]


def by_recording(answers: list[Timeline]) -> dict:
    return {(answer.name, answer.channel): spoken(answer) for answer in answers}


# known answer

def test_a_table_without_a_segment_has_all_its_columns(tmp_path):
    for name, segments in (("some.csv", TURNS), ("none.csv", ())):
        write(timeline(segments=segments), tmp_path / name)
    heads = [path.read_text().splitlines()[0].replace(',"speaker"', "") for path in sorted(tmp_path.iterdir())]
    assert heads[0] == heads[1] and '"p_anger"' in heads[1]


def test_a_table_has_a_row_for_each_segment_ordered_by_start(tmp_path):
    write([timeline(), timeline("b.wav", TURNS, channel=2)], tmp_path / "segments.csv")
    assert (tmp_path / "segments.csv").read_text().splitlines() == [
        '"path","channel","start_seconds","end_seconds","label","confidence","speaker","p_anger","p_neutral","p_sadness"',
        '"call.wav","",0.0,1.0,"anger",0.75,"",0.75,0.125,0.125',
        '"call.wav","",1.0,2.346,"sadness",0.5,"",0.25,0.25,0.5',
        '"call.wav","",4.5,3661.75,"unknown",0.375,"",0.375,0.375,0.25',
        '"b.wav",2,0.25,2.0,"anger",0.75,"anna",0.75,0.125,0.125',
        '"b.wav",2,1.5,3.0,"neutral",0.5,"ben",0.25,0.5,0.25',
        '"b.wav",2,3.0,4.0,"neutral",0.875,"anna",0.125,0.875,0.0',
    ]


def test_rttm_has_the_label_where_a_diarizer_has_the_speaker(tmp_path):
    write(timeline("my call.wav", TURNS[:1]), tmp_path / "a.rttm")
    assert (tmp_path / "a.rttm").read_text() == (
        "SPEAKER my%20call.wav 1 0.250 1.750 anna <NA> anger 0.750000 <NA>\n")


def test_subtitles_tell_label_and_confidence(tmp_path):
    write(timeline(segments=(*SEGMENTS[1:], *TURNS[:1])), tmp_path / "a.vtt")
    assert (tmp_path / "a.vtt").read_text() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nanger 0.75\n\n00:00:00.250 --> 00:00:02.000\n<v anna>anger 0.75\n\n"
        "00:00:04.500 --> 01:01:01.750\nunknown 0.38\n")


def test_audacity_gets_times_and_labels_between_tabs(tmp_path):
    write(timeline(segments=TURNS[:1] + SEGMENTS[:1]), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "0.250\t2.000\tanna: anger\n1.000\t2.346\tsadness\n"


def test_kaldis_speakers_are_of_their_recording_since_a_diarizer_counts_anew_in_each(tmp_path):
    write([timeline("a.wav", TURNS[:1]), timeline("b.wav", TURNS[:2])], tmp_path / "data")
    assert (tmp_path / "data" / "utt2spk").read_text().splitlines() == [
        "a:anna#00000250-00002000 a:anna", "b:anna#00000250-00002000 b:anna", "b:ben#00001500-00003000 b:ben"]


# the libraries of each world

def test_pandas_reads_the_csv_as_the_frame_that_we_make(tmp_path):
    answers = [timeline(), timeline("b.wav", TURNS, channel=2)]
    write(answers, tmp_path / "a.csv")
    frame = to_dataframe(answers)
    assert frame["channel"].dtype == "Int64" and frame["start_seconds"].dtype == "float64"
    found = pandas.read_csv(tmp_path / "a.csv")
    pandas.testing.assert_frame_equal(found.fillna({"speaker": ""}), frame.fillna({"speaker": ""}), check_dtype=False)


def test_a_frame_holds_names_that_are_not_utf8_and_no_segments_too():
    assert to_dataframe(timeline("\udcff.wav"))["path"].tolist() == ["\udcff.wav"] * 3
    assert to_dataframe(timeline(segments=())).empty


def test_pyarrow_reads_typed_columns_even_where_there_are_no_rows(tmp_path):
    write(timeline(segments=TURNS, channel=1), tmp_path / "some.parquet")
    write(timeline(segments=()), tmp_path / "none.parquet")
    some, none = (pyarrow.parquet.read_table(tmp_path / name) for name in ("some.parquet", "none.parquet"))
    assert some.to_pandas().equals(to_dataframe(timeline(segments=TURNS, channel=1)).astype(some.to_pandas().dtypes))
    assert {some.schema.field(name).type for name in none.column_names} <= {pyarrow.string(), pyarrow.float64()}
    assert all(none.schema.field(name) == some.schema.field(name) for name in none.column_names) and none.num_rows == 0


def test_praatio_finds_a_tier_for_each_speaker_without_gaps(tmp_path):
    write(timeline(segments=TURNS, duration=5.0), tmp_path / "a.TextGrid")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True)
    assert grid.tierNames == ("emotion: anna", "emotion: ben") and grid.maxTimestamp == 5.0
    assert [tuple(entry) for entry in grid.getTier("emotion: anna").entries] == [
        (0.0, 0.25, ""), (0.25, 2.0, "anger"), (2.0, 3.0, ""), (3.0, 4.0, "neutral"), (4.0, 5.0, "")]
    assert [tuple(entry) for entry in grid.getTier("emotion: ben").entries] == [
        (0.0, 1.5, ""), (1.5, 3.0, "neutral"), (3.0, 5.0, "")]


def test_praatio_finds_no_interval_between_segments_that_touch(tmp_path):
    write(timeline(), tmp_path / "a.TextGrid")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True)
    assert [tuple(entry) for entry in grid.getTier("emotion").entries] == [
        (0.0, 1.0, "anger"), (1.0, 2.346, "sadness"), (2.346, 4.5, ""), (4.5, 3661.75, "unknown"),
        (3661.75, 3662.0, "")]


def test_praatio_finds_an_empty_interval_where_nobody_speaks(tmp_path):
    write(timeline(segments=(), duration=5.0), tmp_path / "a.TextGrid")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True)
    assert [tuple(entry) for entry in grid.getTier("emotion").entries] == [(0.0, 5.0, "")]


def test_pympi_finds_tiers_media_and_a_controlled_vocabulary(tmp_path):
    write([timeline("calls/a b.wav", TURNS, 1), timeline("calls/a b.wav", SEGMENTS, 2)], tmp_path / "a.eaf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")   # pympi warns of versions that it does not know
        eaf = Elan.Eaf(str(tmp_path / "a.eaf"))
    found = {title: sorted(eaf.get_annotation_data_for_tier(title)) for title in eaf.get_tier_names()}
    assert found == {
        "emotion 1: anna": [(250, 2000, "anger"), (3000, 4000, "neutral")], "emotion 1: ben": [(1500, 3000, "neutral")],
        "emotion 2": [(0, 1000, "anger"), (1000, 2346, "sadness"), (4500, 3661750, "unknown")],
    }
    assert eaf.media_descriptors == [
        {"MEDIA_URL": (Path.cwd() / "calls/a b.wav").as_uri(), "MIME_TYPE": "audio/x-wav"}]
    entries = [values[0][0] for values, _ in eaf.controlled_vocabularies["emotions"][1].values()]
    assert entries == [*LABELS, "unknown"]
    assert eaf.linguistic_types["emotion"]["CONTROLLED_VOCABULARY_REF"] == "emotions"
    assert [*eaf.timeslots.values()] == sorted(eaf.timeslots.values())


def test_elans_vocabulary_holds_labels_of_other_models_too(tmp_path):
    write(timeline("a.flac", (Segment(0.0, 1.0, "fear", 0.5, ()),)), tmp_path / "a.eaf")
    eaf = Elan.Eaf(str(tmp_path / "a.eaf"))
    entries = [values[0][0] for values, _ in eaf.controlled_vocabularies["emotions"][1].values()]
    assert entries == [*LABELS, "unknown", "fear"]
    assert eaf.media_descriptors[0]["MIME_TYPE"] == "audio/*"


def test_webvtt_finds_the_cues_and_who_speaks(tmp_path):
    write(timeline(segments=TURNS), tmp_path / "a.vtt")
    cues = list(webvtt.read(tmp_path / "a.vtt"))
    assert [(cue.start, cue.end, cue.text, cue.voice) for cue in cues] == [
        ("00:00:00.250", "00:00:02.000", "anger 0.75", "anna"), ("00:00:01.500", "00:00:03.000", "neutral 0.50", "ben"),
        ("00:00:03.000", "00:00:04.000", "neutral 0.88", "anna")]


@pytest.mark.parametrize("names", [("a.wav", "b c.wav", "a-1.wav"), ("x/a.wav", "y/a.wav"), ("a.wav", "a.flac")])
def test_a_kaldi_folder_is_valid_and_tells_the_same(tmp_path, monkeypatch, names):
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    answers = [timeline(name, TURNS + SEGMENTS[2:]) for name in names]
    write(answers, "data")
    assert datacheck.validate("data") == []
    found = [(u.wav, u.start_seconds, u.stop_seconds, u.emotion) for u in datadir.read("data")]
    expected = [(answer.name, *part[:3]) for answer in answers for part in spoken(answer)]
    assert sorted(found) == sorted(expected)


# round trip

@pytest.mark.parametrize("ending", HELD)
def test_segments_come_back_as_they_were(tmp_path, ending):
    write(timeline(segments=SEGMENTS), tmp_path / f"call{ending}")
    (answer,) = read(tmp_path / f"call{ending}")
    assert spoken(answer) == spoken(timeline())
    assert answer.name == ("call" if ending in (".TextGrid", ".txt") else "call.wav")
    confidences = [part.confidence for part in answer.segments]
    if ending in (".TextGrid", ".eaf", ".txt"):
        assert all(map(math.isnan, confidences)) and answer.segments[0].probabilities == ()
    else:
        assert confidences == [0.75, 0.5, 0.375]
    if ending in (".csv", ".jsonl", ".parquet"):
        assert answer.labels == LABELS and set(answer.segments) == set(SEGMENTS)


@pytest.mark.parametrize("ending", HELD)
def test_speakers_come_back(tmp_path, ending):
    write(timeline(segments=TURNS), tmp_path / f"call{ending}")
    assert spoken(*read(tmp_path / f"call{ending}")) == spoken(timeline(segments=TURNS))


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".rttm"])
def test_channels_and_recordings_stay_apart(tmp_path, ending):
    answers = [timeline("a.wav", TURNS, 1), timeline("a.wav", SEGMENTS, 2), timeline("b.wav", SEGMENTS, 1)]
    write(iter(answers), tmp_path / f"all{ending}")
    assert by_recording(read(tmp_path / f"all{ending}")) == by_recording(answers)


@pytest.mark.parametrize("ending", [".TextGrid", ".eaf"])
def test_channels_of_a_recording_are_tiers(tmp_path, ending):
    answers = [timeline("call", TURNS, 1), timeline("call", SEGMENTS, 2)]
    write(answers, tmp_path / f"call{ending}")
    assert by_recording(read(tmp_path / f"call{ending}")) == by_recording(answers)


def test_json_lines_hold_the_recordings_too(tmp_path):
    answers = [timeline(segments=()), timeline("b.wav", channel=1)]
    write(answers, tmp_path / "a.jsonl")
    told = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert told == [{**answer.to_dict(), "channel": answer.channel, "segments": told[i]["segments"]}
                    for i, answer in enumerate(answers)]
    for found, answer in zip(read(tmp_path / "a.jsonl"), answers, strict=True):
        assert (found.name, found.channel, found.flags) == (answer.name, answer.channel, answer.flags)
        assert (found.label, found.confidence, found.duration_seconds) == ("anger", 0.5, 3662.0)


def test_names_tell_whose_a_number_is_in_json_not_their_order(tmp_path):
    path = tmp_path / "a.jsonl"
    write(timeline(), path)
    told, before = json.loads(path.read_text()), read(path)[0]
    path.write_text(json.dumps(told | {"probabilities": dict(reversed(told["probabilities"].items()))}) + "\n")
    (found,) = read(path)
    assert found.labels == before.labels[::-1]
    assert [part.probabilities for part in found.segments] == [part.probabilities[::-1] for part in before.segments]
    told["segments"][0]["probabilities"] = {"x": 1.0}
    path.write_text(json.dumps(told) + "\n")
    with pytest.raises(FormatError, match=r"a.jsonl:1: a segment tells x, its recording .*Name the same in both"):
        read(path)


def test_a_recording_held_back_stays_unknown_in_json_lines(tmp_path):
    unsure = Timeline(**{**vars(timeline()), "unknown_below": 0.9})
    write(unsure, tmp_path / "a.jsonl")
    assert read(tmp_path / "a.jsonl")[0].label == unsure.label == "unknown"


RATED = replace(
    timeline("call", tuple(replace(part, dimensions=(0.125, 0.5 + k / 4)) for k, part in enumerate(TURNS[:2]))),
    dimensions={"valence": 0.25, "arousal": 0.75},
)


def test_dimensions_are_columns_behind_the_speaker(tmp_path):
    write([RATED, timeline("other", SEGMENTS[:1])], tmp_path / "a.csv")
    header, first, *_, last = (tmp_path / "a.csv").read_text().splitlines()
    assert header.replace('"', "").split(",") == [
        "path", "start_seconds", "end_seconds", "label", "confidence", "speaker", "valence", "arousal", "p_anger",
        "p_neutral", "p_sadness"]
    assert first == '"call",0.25,2.0,"anger",0.75,"anna",0.125,0.5,0.75,0.125,0.125'
    assert last == '"other",1.0,2.346,"sadness",0.5,"","","",0.25,0.25,0.5'


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_dimensions_come_back_by_name(tmp_path, ending):
    write(RATED, tmp_path / f"a{ending}")
    (found,) = read(tmp_path / f"a{ending}")
    told = [dict(zip(found.dimensions, part.dimensions)) for part in found.segments]
    assert told == [dict(zip(RATED.dimensions, part.dimensions)) for part in RATED.segments]
    if ending == ".jsonl":
        assert found.dimensions == RATED.dimensions
    else:
        assert all(math.isnan(value) for value in found.dimensions.values())   # no format but that tells
        write(found, tmp_path / f"again{ending}")
        assert [part.dimensions for part in read(tmp_path / f"again{ending}")[0].segments] == [
            part.dimensions for part in found.segments]


def test_a_kaldi_folder_has_the_dimensions_as_ratings(tmp_path):
    write(RATED, tmp_path / "data")
    assert [(u.valence, u.arousal) for u in datadir.read(tmp_path / "data")] == [(0.125, 0.5), (0.125, 0.75)]


@pytest.mark.parametrize("ending", [".rttm", ".TextGrid", ".eaf", ".txt"])
def test_formats_without_a_place_for_dimensions_hold_the_rest(tmp_path, ending):
    answer = RATED if ending == ".rttm" else replace(RATED, segments=RATED.segments[:1])
    write(answer, tmp_path / f"a{ending}")
    (found,) = read(tmp_path / f"a{ending}")
    assert spoken(found) == spoken(answer) and found.dimensions == {}


@pytest.mark.parametrize("target", [".csv", ".parquet", ".rttm", ".TextGrid", ".eaf", ".txt"])
@pytest.mark.parametrize("source", [".csv", ".rttm", ".eaf", ".TextGrid"])
def test_what_was_read_can_be_written_in_another_format(tmp_path, source, target):
    write(timeline("call", TURNS), tmp_path / f"call{source}")
    write(read(tmp_path / f"call{source}"), tmp_path / f"call{target}")
    assert spoken(*read(tmp_path / f"call{target}")) == spoken(timeline(segments=TURNS))


@pytest.mark.parametrize("ending", HELD)
def test_an_answer_without_segments_makes_a_file_that_reads_as_none(tmp_path, ending):
    write(timeline(segments=()), tmp_path / f"call{ending}")
    assert [spoken(answer) for answer in read(tmp_path / f"call{ending}")] == ([[]] if ending == ".jsonl" else [])


def test_an_answer_without_segments_makes_subtitles_without_cues(tmp_path):
    write(timeline(segments=()), tmp_path / "call.vtt")
    assert not list(webvtt.read(tmp_path / "call.vtt"))


def test_what_no_format_told_is_unknown_rather_than_invented(tmp_path):
    write(timeline(), tmp_path / "a.csv")
    (answer,) = read(tmp_path / "a.csv")
    assert (answer.label, answer.confidence, answer.duration_seconds) == ("unknown", 0.0, 3661.75)
    assert "unknown" in repr(answer)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".rttm", ".eaf"])
def test_a_hostile_name_of_a_recording_comes_back_or_is_refused(tmp_path, ending, name):
    answers = [timeline(name)] if ending == ".eaf" else [timeline(name), timeline("other.wav", TURNS)]
    if ending == ".parquet" and "\udce4" in name:
        with pytest.raises(FormatError, match="not UTF-8.*write .csv"):
            write(answers, tmp_path / f"a{ending}")
        assert list(tmp_path.iterdir()) == []
        return
    write(answers, tmp_path / f"a{ending}")
    assert by_recording(read(tmp_path / f"a{ending}")) == by_recording(answers)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ending", [*HELD, ".vtt"])
def test_a_hostile_name_of_a_speaker_comes_back_or_is_refused(tmp_path, ending, name):
    answer = timeline(segments=(Segment(0.0, 1.0, "anger", 0.75, (), name), *TURNS))
    path = tmp_path / f"a{ending}"
    if ending in (".TextGrid", ".eaf", ".txt", ".vtt") and BROKEN.search(name):
        with pytest.raises(FormatError, match="control characters.*Rename it"):
            write(answer, path)
    elif ending == ".parquet" and "\udce4" in name:
        with pytest.raises(FormatError, match="not UTF-8"):
            write(answer, path)
    elif ending == ".vtt":
        write(answer, path)
        assert [len(cue.text.splitlines()) for cue in webvtt.read(path)] == [1] * 4
        assert path.read_text().count("-->") == 4
    else:
        write(answer, path)
        assert spoken(*read(path)) == spoken(answer)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_valid_in_a_kaldi_folder_or_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    answer = timeline(name, (*TURNS, *SEGMENTS))
    if re.search("[\n\r]", name) or name != name.strip():
        with pytest.raises(ValueError, match="wav"):
            write(answer, "data")
        assert not Path("data").exists()
    else:
        write(answer, "data")
        assert datacheck.validate("data") == []
        assert {u.wav for u in datadir.read("data")} == {name}


@pytest.mark.parametrize("speakers", [("a", "a b", "a-b", "a!", "0", None), ("a:b", "a", "a%20b", "a#")])
def test_any_speakers_keep_the_order_that_kaldi_demands(tmp_path, monkeypatch, speakers):
    monkeypatch.chdir(tmp_path)
    parts = [Segment(k + 0.1, k + 1.0, "anger", 0.75, (), speaker) for k, speaker in enumerate(speakers * 2)]
    names = ["x.wav", "x:a.wav", "x-1.wav", "x 2.wav"]
    for name in names:
        Path(name).touch()
    write([timeline(name, tuple(parts)) for name in names], "data")
    assert datacheck.validate("data") == []
    assert len({u.speaker for u in datadir.read("data")}) == len(speakers) * len(names)


@pytest.mark.parametrize("name", [name for name in HOSTILE if not BROKEN.search(name)])
def test_pympi_finds_tiers_of_hostile_speakers_in_both_of_its_formats(tmp_path, name):
    for ending in (".TextGrid", ".eaf"):
        write(timeline(segments=(Segment(0.0, 1.0, "anger", 0.75, (), name),)), tmp_path / f"a{ending}")
    assert [tier.name for tier in Praat.TextGrid(str(tmp_path / "a.TextGrid")).tiers] == [f"emotion: {name}"]
    assert list(Elan.Eaf(str(tmp_path / "a.eaf")).get_tier_names()) == [f"emotion: {name}"]


def test_the_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    write(timeline(), tmp_path / "a.csv")
    before = (tmp_path / "a.csv").read_bytes()
    monkeypatch.setattr(formats.os, "fsync", lambda file: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(timeline(segments=TURNS), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == before


def test_a_person_may_correct_the_tiers_of_emotions_and_add_others(tmp_path):
    write(timeline(segments=TURNS, duration=5.0), tmp_path / "a.TextGrid")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=False)
    grid.addTier(textgrid.PointTier("emotion", [(0.5, "click")], 0, 5))
    grid.addTier(textgrid.IntervalTier("words", [(0.25, 1.0, 'say "emotion"')], 0, 5))
    grid.getTier("emotion: ben").insertEntry((1.5, 3.0, "fear"), collisionMode="replace")
    grid.save(str(tmp_path / "b.TextGrid"), format="long_textgrid", includeBlankSpaces=True)
    assert spoken(*read(tmp_path / "b.TextGrid")) == [
        (0.25, 2.0, "anger", "anna"), (1.5, 3.0, "fear", "ben"), (3.0, 4.0, "neutral", "anna")]
    (tmp_path / "c.TextGrid").write_text((tmp_path / "b.TextGrid").read_text(), "utf-16")   # as Praat may save it
    assert spoken(*read(tmp_path / "c.TextGrid")) == spoken(*read(tmp_path / "b.TextGrid"))
    write(read(tmp_path / "b.TextGrid"), tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().splitlines()[0] == (
        '"path","start_seconds","end_seconds","label","confidence","speaker"')   # no probabilities are known


def test_a_person_may_leave_annotations_of_elan_empty_and_add_tiers_without_times(tmp_path):
    write(timeline(segments=TURNS), tmp_path / "a.eaf")
    eaf = Elan.Eaf(str(tmp_path / "a.eaf"))
    eaf.add_annotation("emotion: ben", 4000, 5000, "fear")
    eaf.add_annotation("emotion: ben", 5000, 6000, "")
    eaf.add_tier("words")
    eaf.add_annotation("words", 0, 1000, "anger")
    eaf.timeslots["ts99"] = None   # as ELAN writes them inside a subdivided annotation
    eaf.to_file(str(tmp_path / "b.eaf"))
    assert spoken(*read(tmp_path / "b.eaf")) == [*spoken(timeline(segments=TURNS)), (4.0, 5.0, "fear", "ben")]


def test_json_lines_of_another_program_may_hold_any_character_as_it_is(tmp_path):
    told = {**timeline("line\u2028break.wav").to_dict(), "channel": None}
    (tmp_path / "a.jsonl").write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read(tmp_path / "a.jsonl")[0].name == "line\u2028break.wav"


# spans

def test_kaldi_segments_say_where_to_listen_and_utt2spk_to_whom(tmp_path):
    (tmp_path / "segments").write_text("u2 call 1.5 3\nu1 call 0.25 2.5\nu3 other 0 1\n")
    assert read_spans(tmp_path / "segments") == read_spans(tmp_path) == {
        "call": [NamedSpan(0.25, 2.5, None, "u1"), NamedSpan(1.5, 3.0, None, "u2")],
        "other": [NamedSpan(0.0, 1.0, None, "u3")]}
    (tmp_path / "utt2spk").write_text("u1 anna\nu2 ben\nu3 anna\n")
    assert [span.speaker for span in read_spans(tmp_path)["call"]] == ["anna", "ben"]


def test_rttm_of_a_diarizer_says_who_speaks_when(tmp_path):
    (tmp_path / "a.rttm").write_text(
        ";; a comment\nSPKR-INFO call 1 <NA> <NA> <NA> adult_male ben <NA>\n\n"
        "SPEAKER call 1 1.5 1.5 <NA> <NA> ben <NA> <NA>\nSPEAKER call 1 0.1 0.2 <NA> <NA> <NA> 0.9\n")
    assert read_spans(tmp_path / "a.rttm") == {"call": [NamedSpan(0.1, 0.3), NamedSpan(1.5, 3.0, "ben")]}


@pytest.mark.parametrize("text", [
    "path,start_seconds,end_seconds\nmy call.wav,1.5,3\nmy call.wav,0.25,2.5\n",
    "file,start,end,note\r\n\"my call.wav\",1.5,3,x\r\n\"my call.wav\",0.25,2.5,\r\n",
    "\ufeffstart,duration,file\n1.5,1.5,my call.wav\n0.25,2.25,my call.wav\n",
    "start,end,duration,file\n1.5,3,9,my call.wav\n0.25,2.5,,my call.wav\n",
])
def test_a_table_says_where_to_listen(tmp_path, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    assert read_spans(tmp_path / "a.csv") == {"my call.wav": [NamedSpan(0.25, 2.5), NamedSpan(1.5, 3.0)]}


def test_a_table_may_tell_speakers_and_ids(tmp_path):
    (tmp_path / "a.csv").write_text("path,start,end,speaker,id\na.wav,0,2,anna,7\na.wav,1,3,,\n")
    assert read_spans(tmp_path / "a.csv") == {"a.wav": [NamedSpan(0.0, 2.0, "anna", "7"), NamedSpan(1.0, 3.0)]}


@pytest.mark.parametrize("ending", [".csv", ".rttm"])
def test_our_own_segments_can_be_listened_to_again(tmp_path, ending):
    write(timeline("my call.wav", TURNS), tmp_path / f"a{ending}")
    found = read_spans(tmp_path / f"a{ending}")["my call.wav"]
    assert [(span.start_seconds, span.end_seconds) for span in found] == [(0.25, 2.0), (1.5, 3.0), (3.0, 4.0)]


def test_the_analyzer_listens_where_the_spans_say(tmp_path, tiny, rng):
    (tmp_path / "a.csv").write_text("file,start,end,speaker\narray,0.5,1.5,anna\narray,1,2,ben\n")
    waveform = rng.normal(0, 0.1, 32_000).astype(np.float32)
    answer = Analyzer(tiny, "cpu").analyze(waveform, sample_rate=16_000, spans=read_spans(tmp_path / "a.csv")["array"])
    write(answer, tmp_path / "a.rttm")
    assert [(start, end, who) for start, end, _, who in spoken(*read(tmp_path / "a.rttm"))] == [
        (0.5, 1.5, "anna"), (1.0, 2.0, "ben")]


def test_real_speech_is_told_alike_in_every_format(corpora, tmp_path):
    path = next((corpora / "emodb" / "wav").glob("*.wav"))
    answer = Analyzer(device="cpu").analyze(path)
    assert answer.segments
    for ending in HELD:
        write(answer, tmp_path / f"a{ending}")
        assert spoken(*read(tmp_path / f"a{ending}")) == spoken(answer)


# refusal

@pytest.mark.parametrize("name, text, number", [
    ("segments", "u1 call 0 1\nu2 call 0\n", 2), ("segments", "u1 call 0 1\n\n", 2), ("segments", "u1 call 1 1\n", 1),
    ("segments", "u1 call 0 1\nu2 call x 1\n", 2), ("segments", "u1 call 2 -1\n", 1),
    ("segments", "u1 my call 0 1\n", 1), ("segments", "u1 call 0 1 A\n", 1),
    ("a.rttm", "SPEAKER call 1 0 1 <NA> <NA> a <NA> <NA>\nSPEAKER my call 1 1 2 <NA> <NA> a <NA> <NA>\n", 2),
    ("a.rttm", "\nSPEAKER call 1 0 0 <NA> <NA> a <NA> <NA>\n", 2), ("a.rttm", "not at all\n", 1),
    ("a.rttm", "SPEAKER call 1 nan 1 <NA> <NA> a <NA> <NA>\n", 1),
    ("a.rttm", "SPEAKER call 1 0 1,5 <NA> <NA> a <NA> <NA>\n", 1),
    ("a.csv", "path,start,end\na,0,1\na,1,0\n", 3), ("a.csv", "path,start,end\na,-1,1\n", 2),
    ("a.csv", "path,start,end\na,0,inf\n", 2), ("a.csv", "path,from,to\na,0,1\n", 2), ("a.csv", "start,end\n0,1\n", 2),
    ("a.csv", "path,start,end\n,0,1\n", 2), ("a.csv", "path,start,end\na,b.wav,0,1\n", 2),
    ("a.csv", "path,start,end\na,0\n", 2), ("a.csv", 'path,start,end,speaker\na,0,1,"ann\na,1,2,ben\n', 3),
    ("a.csv", 'path,start,end\n"a,0,1\n', 2), ("a.csv", "path;start;end\na;0;1\n", 2),
])
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path, name, text, number):
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=rf"{name}:{number}: .*(Correct|Repair|Name|Write) "):
        read_spans(tmp_path / name)


def test_an_utterance_without_its_speaker_is_named(tmp_path):
    (tmp_path / "segments").write_text("u1 call 0 1\n")
    (tmp_path / "utt2spk").write_text("u2 anna\n")
    with pytest.raises(FormatError, match="segments:1: u1 .*utt2spk"):
        read_spans(tmp_path)


@pytest.mark.parametrize("function", [lambda path: write(timeline(), path), read, read_spans])
def test_an_ending_that_names_no_format_is_refused_with_those_that_do(tmp_path, function):
    with pytest.raises(FormatError, match=r"must .*\.rttm.*(Rename|Convert) it"):
        function(tmp_path / "a.docx")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FormatError, match="Make it first"):
        formats.check_path(tmp_path / "none" / "a.csv")
    assert formats.check_path(str(tmp_path / "a.TextGrid")) == tmp_path / "a.TextGrid"


@pytest.mark.parametrize("ending, answers", [
    (".TextGrid", [timeline("a.wav"), timeline("b.wav")]), (".eaf", []),
    (".txt", [timeline(channel=1), timeline(channel=2)]), (".vtt", [timeline("a.wav"), timeline("b.wav")]),
])
def test_a_file_for_one_recording_refuses_others(tmp_path, ending, answers):
    with pytest.raises(FormatError, match="holds one (recording|answer). Write a file for each"):
        write(answers, tmp_path / f"a{ending}")


@pytest.mark.parametrize("ending", [".TextGrid", ".eaf"])
def test_a_tier_refuses_segments_that_overlap(tmp_path, ending):
    nobody = tuple(Segment(part.start_seconds, part.end_seconds, part.label, 0.5, ()) for part in TURNS)
    with pytest.raises(FormatError, match="overlap.*Tell the speakers apart"):
        write(timeline(segments=nobody), tmp_path / f"a{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "start, end", [(1.0, 1.0), (2.0, 1.0), (-0.5, 1.0), (0.0, math.inf), (math.nan, 1.0), (1.0, 1.0004)]
)
def test_a_segment_that_nobody_can_show_is_refused(tmp_path, start, end):
    with pytest.raises(FormatError, match="Give 0 <= start < end"):
        write(timeline(segments=(Segment(start, end, "anger", 0.5, ()),)), tmp_path / "a.csv")


def test_two_answers_for_a_recording_or_for_none_are_refused_since_they_would_read_as_one(tmp_path):
    with pytest.raises(FormatError, match="two answers for 'call.wav'"):
        write([timeline(), timeline()], tmp_path / "a.jsonl")
    with pytest.raises(FormatError, match="no name.*Give names"):
        write(timeline(""), tmp_path / "a.csv")


def test_a_recording_that_could_not_be_read_is_not_left_out_in_silence(tmp_path):
    with pytest.raises(FormatError, match="no Timeline.*Leave it out"):
        write([timeline(), FileError("b.wav", "cut")], tmp_path / "a.csv")


def test_json_lines_refuse_what_has_no_probabilities_to_tell(tmp_path):
    write(timeline(), tmp_path / "a.csv")
    with pytest.raises(FormatError, match="without the recording's probabilities. Write .csv"):
        write(read(tmp_path / "a.csv"), tmp_path / "a.jsonl")


def test_a_kaldi_folder_that_holds_recordings_is_never_overwritten(tmp_path):
    write(timeline(), tmp_path / "data")
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    with pytest.raises(FormatError, match="Name a new folder"):
        write(timeline(segments=TURNS), tmp_path / "data")
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


@pytest.mark.parametrize("answer", [timeline(channel=2), timeline("rm -rf x |"), timeline(segments=())])
def test_kaldi_refuses_channels_commands_and_nothing(tmp_path, answer):
    with pytest.raises(ValueError, match="Make it a file of its own|no utterances"):
        write(answer, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("ending", HELD)
def test_a_file_of_another_kind_is_refused_with_its_name(tmp_path, ending):
    (tmp_path / f"a{ending}").write_bytes(b"path,label\na.wav,anger\n\xff\xfe\x00")
    with pytest.raises(FormatError, match=rf"a\{ending}.*(Write it again|Correct |as %20)"):
        read(tmp_path / f"a{ending}")


@pytest.mark.parametrize("name", ["folder", "a.vtt"])
def test_what_is_only_written_says_so_when_read(tmp_path, name):
    write(timeline(), tmp_path / name)
    with pytest.raises(FormatError, match="datadir.read"):
        read(tmp_path / name)


@pytest.mark.parametrize("library, call", [
    ("pyarrow", lambda: write(timeline(), "a.parquet")), ("pyarrow", lambda: read("a.parquet")),
    ("pandas", lambda: to_dataframe(timeline())),
])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch, library, call):
    for name in (library, f"{library}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ModuleNotFoundError, match=rf"no {library}.*pip install 'emotion\[parquet\]'"):
        call()


def test_formats_load_neither_pandas_nor_pyarrow():
    code = "import sys, emotion.formats; print(sorted({'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_damaged_parquet_file_is_refused_by_name(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    write(timeline(), path)
    content = path.read_bytes()
    for damaged in (content[:4] + bytes(len(content) - 12) + content[-8:], content[:99], b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="a.parquet is no.*Write it again"):
            read(path)


@pytest.mark.parametrize("old, new", [
    ('"end_seconds": ', '"end_seconds": -'), ('"start_seconds": ', '"start_seconds": 1e9'),
    ('"probabilities": {', '"probabilities": null, "x": {'), ('"confidence": ', '"confidence": "sure", "x": '),
    ('"duration_seconds": ', '"duration_seconds": [], "x": '), ('"segments": [', '"segments": [[], '),
])
def test_a_line_of_json_that_tells_no_answer_is_refused_by_name(tmp_path, old, new):
    path = tmp_path / "a.jsonl"
    write(timeline(), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(FormatError, match="a.jsonl"):
        read(path)


def test_turns_of_a_second_channel_are_refused(tmp_path):
    (tmp_path / "a.rttm").write_text("".join(
        f"SPEAKER call {channel} 0.5 1.0 <NA> <NA> anna <NA> <NA>\n" for channel in (1, 2)))
    with pytest.raises(FormatError, match="a.rttm:2: channel 2.*Make each channel a file"):
        read_spans(tmp_path / "a.rttm")


def test_what_ends_in_a_million_years_is_refused():
    with pytest.raises(FormatError, match="nobody can show it"):
        write(timeline(segments=(replace(SEGMENTS[0], end_seconds=1e306),)), "a.vtt")


def test_turns_are_found_by_the_name_of_a_recording(tmp_path):
    (tmp_path / "t.csv").write_text("path,start,end\na.wav,0,1\n")
    assert list(formats.turns_of(tmp_path / "t.csv", ["calls/a.wav", "calls/b.wav"])) == ["calls/a.wav"]
