import os
import re
import shutil
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotion import datacheck, datadir
from emotion.datadir import DataError, Utterance


@pytest.fixture
def data(tmp_path):
    """A valid directory of spans, with every table that Kaldi's people may add."""
    utterances = []
    for speaker in ("a", "b"):
        wav = tmp_path / f"{speaker}.wav"
        wav.write_text(speaker)
        for n in (1, 2):
            utterances.append(Utterance(f"{speaker}-{n}", speaker, str(wav), "calm", n, n + 1, 1.0))
    datadir.write(tmp_path / "data", utterances)
    ids = [u.id for u in utterances]
    for name, value in {
        "text": "so it is", "feats.scp": "f.ark:1", "utt2lang": "en", "utt2uniq": "u", "utt2num_frames": "98",
        "utt2warp": "1.1", "vad.scp": "v.ark:1", "utt2arousal": "0.5", "utt2valence": "1.0", "utt2dominance": "-",
        "utt2votes": "anger:3 calm:1",
    }.items():
        (tmp_path / "data" / name).write_text("".join(f"{u} {value}\n" for u in ids))
    for name, value in {"reco2dur": "3.0", "reco2file_and_channel": "file A"}.items():
        (tmp_path / "data" / name).write_text(f"a-1 {value}\nb-1 {value}\n")
    for name, value in {"cmvn.scp": "c.ark:1", "spk2gender": "f", "spk2warp": "0.9"}.items():
        (tmp_path / "data" / name).write_text(f"a {value}\nb {value}\n")
    return tmp_path / "data"


@pytest.fixture
def plain(data):
    """A valid directory of whole recordings, with the required tables only."""
    utterances = [Utterance(u.id, u.speaker, u.wav, u.emotion) for u in datadir.read(data)]
    datadir.write(data.parent / "plain", utterances)
    return data.parent / "plain"


def files(directory):
    """Every file below, with its bytes."""
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# known answer

def test_a_directory_with_every_table_is_valid(data, plain):
    assert sorted(path.name for path in data.iterdir()) == sorted(datacheck.TABLES)
    assert datacheck.validate(data) == datacheck.validate(plain) == []


FAULTS = [   # file, what stands there, what replaces it, what validate says of it
    *[(name, None, None, f"no such file .*{name}") for name in datacheck.REQUIRED],
    *[(name, None, "", f"empty file .*{name}") for name in datacheck.TABLES],
    ("utt2spk", "a-1 a\n", "a-1 a x\n", "badly formatted .*utt2spk.*<utterance-id> <speaker-id>"),
    ("utt2spk", "a-1 a\n", "a-1\n", "badly formatted .*utt2spk"),
    ("utt2spk", "a-1 a\na-2 a\n", "a-2 a\na-1 a\n", "utt2spk is not in sorted order or has duplicates"),
    ("utt2spk", "a-1 a\n", "a-1 a\na-1 a\n", "utt2spk is not in sorted order or has duplicates"),
    ("utt2spk", "b-2 b\n", "b-2 b", "utt2spk has invalid newline"),
    ("utt2spk", "a-1 a\n", "a-1 a\r\n", "utt2spk has invalid newline"),
    ("utt2spk", "a-1 a\n", "a-1 a\n\n", "badly formatted .*utt2spk"),
    ("utt2spk", "a-1 a\n", "a-1 b\n", "making speaker-ids prefixes of utt-ids"),
    ("spk2utt", "a a-1 a-2\n", "a a-1\n", "spk2utt and utt2spk do not seem to match"),
    ("spk2utt", "a a-1 a-2\n", "a a-2 a-1\n", "spk2utt and utt2spk do not seem to match"),
    ("spk2utt", "a a-1 a-2\n", "", "speaker lists .*spk2utt has missing a"),
    ("utt2emotion", "a-1 calm\n", "a-1 angry\n", "unknown emotions angry.*Map them"),
    ("utt2emotion", "a-1 calm\n", "a-1 calm fear\n", "badly formatted .*utt2emotion"),
    ("wav.scp", "a-1 /", "a-1 ~/", "do not use tilde"),
    ("wav.scp", "a-1 /", "a-1 /none/", "wav.scp names files that do not exist"),
    ("wav.scp", "b-1 ", "b-9 ", "lists extracted from segments and wav.scp .* missing b-1, extra b-9"),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-1 1.0", "badly formatted .*segments"),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-1 2.0 2.0", "badly formatted .*segments"),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-1 -1.0 2.0", "badly formatted .*segments"),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-1 1.0 -1", "badly formatted .*segments"),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-1 1.0 end", "badly formatted .*segments"),
    ("segments", "a-1 a-1 1.0 2.0\n", "", "utterance lists .*segments has missing a-1"),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-9 1.0 2.0", "recording lists .*wav.scp has missing a-9"),
    ("text", "so it is", "so <s> is", "illegal symbol '<s>'"),
    ("text", "so it is", "so #0", "illegal symbol '#0'"),
    ("text", "so it is", "so\u00a0it is", "illegal symbol"),
    ("utt2dur", "a-1 1.0", "a-1 0", "badly formatted .*utt2dur"),
    ("utt2dur", "a-1 1.0", "a-1 nan", "badly formatted .*utt2dur"),
    ("utt2arousal", "a-1 0.5", "a-1 1.5", "badly formatted .*utt2arousal.*from 0 to 1, or -"),
    ("utt2valence", "a-1 1.0", "a-1 high", "badly formatted .*utt2valence"),
    ("utt2votes", "a-1 anger:3", "a-1 angry:3", "badly formatted .*utt2votes.*<emotion>:<votes>"),
    ("utt2num_frames", "a-1 98", "a-1 98.5", "badly formatted .*utt2num_frames"),
    ("utt2num_frames", "a-1 98", "a-1 0", "badly formatted .*utt2num_frames"),
    ("utt2warp", "a-1 1.1", "a-1 1.5", "badly formatted .*utt2warp"),
    ("reco2dur", "a-1 3.0", "a-1 -3.0", "badly formatted .*reco2dur"),
    ("reco2dur", "a-1 3.0\n", "", "recording lists extracted from segments and reco2dur .* missing a-1"),
    ("reco2file_and_channel", "a-1 file A", "a-1 file C", "badly formatted .*reco2file_and_channel"),
    ("reco2file_and_channel", "a-1 file A", "a-1 A", "badly formatted .*reco2file_and_channel"),
    ("spk2gender", "a f", "a w", "badly formatted .*spk2gender"),
    ("spk2gender", "a f\n", "", "speaker lists .*spk2gender has missing a"),
    ("spk2warp", "a 0.9", "a 0.5", "badly formatted .*spk2warp"),
    ("cmvn.scp", "b c.ark", "c c.ark", "speaker lists .*cmvn.scp has missing b, extra c"),
    *[
        (name, "a-1 ", "a-0 ", f"utterance lists extracted from utt2spk and {name} .* missing a-1, extra a-0")
        for name, table in datacheck.TABLES.items() if table.ids == "utterance" and name != "utt2spk"
    ],
]


def damage(path, old, new):
    if new is None:
        path.unlink()
    elif old is None:
        path.write_text(new)
    else:
        replace(path, old, new)


@pytest.mark.parametrize("name, old, new, problem", FAULTS)
def test_every_fault_is_found(data, name, old, new, problem):
    damage(data / name, old, new)
    found = datacheck.validate(data)
    assert any(re.search(problem, line) for line in found), found


@pytest.mark.parametrize("old, new, problem", [
    ("a-1 ", "a-0 ", "recording lists extracted from utt2spk and wav.scp .* missing a-1, extra a-0"),
    ("b-2 ", "b-2 cat ", "do not exist"),
])
def test_without_segments_recordings_are_utterances(plain, old, new, problem):
    replace(plain / "wav.scp", old, new)
    assert re.search(problem, "".join(datacheck.validate(plain)))


def test_a_missing_directory_is_a_problem_and_a_pipe_is_none(plain):
    assert datacheck.validate(plain / "none") == [f"no such directory {plain / 'none'}"]
    (plain / "wav.scp").write_text("a-1 cat x |\na-2 cat x |\nb-1 cat x |\nb-2 cat x |\n")
    assert datacheck.validate(plain) == []


def test_what_is_valid_can_be_read(data):
    replace(data / "segments", "a-1 a-1 1.0 2.0", "a-1\ta-1  1 2")
    assert datacheck.validate(data) == []
    assert datadir.read(data)[0].stop_seconds == 2.0


# fix

@pytest.mark.parametrize("name, old, new, kept", [
    ("utt2spk", "a-1 a\n", "", (3, 3)),
    ("utt2spk", "a-1 a\n", "a-1\n", (3, 4)),
    ("utt2spk", "a-1 a\n", "a-1 a\n\na-1 a\n", (4, 4)),
    ("utt2spk", "a-1 a\na-2 a\n", "a-2 a\r\na-1 a\r\n", (4, 4)),
    ("spk2utt", None, None, (4, 4)),
    ("spk2utt", None, "nonsense", (4, 4)),
    ("utt2emotion", "a-1 calm\n", "", (3, 4)),
    ("wav.scp", "b-1 ", "b-9 ", (2, 4)),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-1 2.0 1.0", (3, 4)),
    ("segments", "a-1 a-1 1.0 2.0", "a-1 a-9 1.0 2.0", (3, 4)),
    ("feats.scp", "b-1 ", "b-3 ", (3, 4)),
    ("text", "a-1 so it is", "a-1", (4, 4)),
])
def test_fix_keeps_the_utterances_that_all_tables_hold(data, name, old, new, kept):
    damage(data / name, old, new)
    assert datacheck.fix(data) == kept
    assert len(datadir.read(data)) == kept[0]


@pytest.mark.parametrize("name, old, new, problem", FAULTS)
def test_fix_mends_for_good_or_touches_nothing(data, name, old, new, problem):
    damage(data / name, old, new)
    before = files(data)
    try:
        kept = datacheck.fix(data)
    except DataError:
        assert files(data) == before
    else:
        after = files(data)
        assert not [line for line in datacheck.validate(data) if "do not exist" not in line]
        assert all(after.get(path) == old or after[f".backup/{path}"] == old for path, old in before.items())
        assert datacheck.fix(data) == (kept[0], kept[0])
        assert files(data) == after


@pytest.mark.parametrize("name, old, new, remedy", [
    ("utt2spk", None, None, "no such file .*Write it"),
    ("wav.scp", None, None, "no such file .*Write it"),
    ("utt2emotion", None, None, "no such file .*Write it"),
    ("utt2emotion", None, "", "no utterances remained"),
    ("utt2emotion", "a-1 calm\n", "a-1 calm\na-1 fear\n", "both 'calm' and 'fear' of a-1.*Delete the wrong"),
    ("utt2emotion", "a-1 calm", "a-1 angry", "unknown emotions angry.*Map them"),
    ("utt2spk", "a-1 a\n", "a-1 b\n", "making speaker-ids prefixes of utt-ids"),
    ("wav.scp", "a-1 /", "a-1 ~/", "tilde"),
    ("text", "so it is", "so <s> is", "illegal symbol"),
])
def test_fix_leaves_to_people_what_it_would_have_to_guess(data, name, old, new, remedy):
    damage(data / name, old, new)
    before = files(data)
    with pytest.raises(DataError, match=remedy):
        datacheck.fix(data)
    assert files(data) == before


def test_fix_leaves_a_valid_directory_alone(data):
    before = files(data)
    assert datacheck.fix(data) == (4, 4)
    assert files(data) == before


def test_fix_keeps_the_original_of_every_repair(data):
    path, originals = data / "utt2emotion", []
    for _ in range(3):
        path.write_bytes(path.read_bytes().removesuffix(b"\n").rpartition(b"\n")[0])   # one utterance less
        originals.append(path.read_bytes())
        datacheck.fix(data)
    backups = [data / ".backup" / name for name in ("utt2emotion", "utt2emotion.1", "utt2emotion.2")]
    assert [backup.read_bytes() for backup in backups] == originals


def test_fix_sets_a_table_aside_that_does_not_cover_all_rather_than_lose_utterances(data, caplog):
    replace(data / "utt2dur", "a-1 1.0\n", "")
    partial = (data / "utt2dur").read_bytes()
    assert datacheck.fix(data) == (4, 4)
    assert not (data / "utt2dur").exists() and (data / ".backup/utt2dur").read_bytes() == partial
    assert "utt2dur does not cover every utterance" in caplog.text


def test_fix_does_not_drop_utterances_whose_audio_is_elsewhere(plain):
    replace(plain / "wav.scp", "a-1 /", "a-1 /elsewhere/")
    assert datacheck.fix(plain) == (4, 4)


# Kaldi's own rules

SORTED = ("utt2spk", "spk2utt", "text", "wav.scp", "segments", "reco2file_and_channel", "feats.scp", "cmvn.scp",
          "spk2gender", "spk2warp", "utt2warp", "vad.scp", "utt2lang", "utt2uniq", "utt2dur", "utt2num_frames",
          "reco2dur")
OF_UTTERANCES = ("text", "segments", "feats.scp", "utt2warp", "vad.scp", "utt2lang", "utt2uniq", "utt2dur",
                 "utt2num_frames")
OF_RECORDINGS, OF_SPEAKERS = ("wav.scp", "reco2file_and_channel", "reco2dur"), ("cmvn.scp", "spk2gender", "spk2warp")


def first(value):
    """The first line with another value."""
    return lambda lines: [f"{lines[0].split()[0]} {value}\n", *lines[1:]]


RULES = [   # every check of validate_data_dir.sh (kaldi-asr/kaldi, b3757405), and of validate_text.pl that it calls
    *[(f"{name} must be there", name, None, f"no such file .*{name}") for name in ("utt2spk", "spk2utt", "wav.scp")],
    *[(f"{name} must not be empty", name, lambda lines: [], f"empty file .*{name}")
      for name in ("utt2spk", "spk2utt", "text")],
    *[(f"{name} ends every line with a newline", name, lambda lines: [*lines[:-1], lines[-1][:-1]],
       f"{name} has invalid newline") for name in SORTED],
    *[(f"{name} is sorted", name, lambda lines: [lines[1], lines[0], *lines[2:]], f"{name} is not in sorted order")
      for name in SORTED],
    *[(f"{name} holds each id once", name, lambda lines: [lines[0], *lines], f"{name} .* has duplicates")
      for name in SORTED],
    *[(f"{name} and utt2spk tell of the same utterances: none less", name, lambda lines: lines[1:],
       f"utterance lists .* {name} differ.* missing a-1") for name in OF_UTTERANCES],
    *[(f"{name} and utt2spk tell of the same utterances: none more", name,
       lambda lines: [*lines, lines[-1].replace("b-2", "b-3", 1)], f"utterance lists .* {name} differ.* extra b-3")
      for name in OF_UTTERANCES],
    *[(f"{name} and segments tell of the same recordings: none less", name, lambda lines: lines[1:],
       f"recording lists .* {name} differ.* missing a-1") for name in OF_RECORDINGS],
    *[(f"{name} and segments tell of the same recordings: none more", name,
       lambda lines: [*lines, lines[-1].replace("b-1", "b-3", 1)], f"recording lists .* {name} differ.* extra b-3")
      for name in OF_RECORDINGS],
    *[(f"{name} and spk2utt tell of the same speakers: none less", name, lambda lines: lines[1:],
       f"speaker lists .* {name} differ.* missing a") for name in OF_SPEAKERS],
    *[(f"{name} and spk2utt tell of the same speakers: none more", name,
       lambda lines: [*lines, lines[-1].replace("b", "c", 1)], f"speaker lists .* {name} differ.* extra c")
      for name in OF_SPEAKERS],
    ("utt2spk has two words in a line, not one", "utt2spk", first(""), "badly formatted .*utt2spk"),
    ("utt2spk is cut at blanks, not at no-break spaces", "utt2spk",
     lambda lines: [lines[0].replace(" ", "\xa0"), *lines[1:]], "badly formatted .*utt2spk"),
    ("utt2spk has two words in a line, not three", "utt2spk", first("a a"), "badly formatted .*utt2spk"),
    ("utt2spk is in the order of speakers too", "utt2spk", first("c"), "speaker-ids prefixes of utt-ids"),
    ("spk2utt names an utterance at least", "spk2utt", first(""), "badly formatted .*spk2utt"),
    ("spk2utt is utt2spk turned round", "spk2utt", first("a-1 b-1"), "do not seem to match"),
    ("spk2utt is in the order of utterances", "spk2utt", first("a-2 a-1"), "do not seem to match"),
    ("text has printable characters only", "text", first("so \x01 is"), "illegal symbol '.x01'"),
    ("text has no unassigned characters", "text", first("so \u0378 is"), "illegal symbol '.u0378'"),
    ("text has no carriage return", "text", first("so\ris"), "invalid newline"),
    ("text has no other white space than blank and tab", "text", first("so\u3000is"), "illegal symbol '.u3000'"),
    *[(f"text has no {symbol}{how}", "text", first(words), f"illegal symbol '{symbol}'")
      for symbol in ("<s>", "</s>", "#0")
      for how, words in (("", f"so {symbol}"), (" beside punctuation", f"so,{symbol}."), (" alone", symbol))],
    ("wav.scp has no home directories", "wav.scp", first("~/a.wav"), "do not use tilde"),
    ("segments has four words in a line, not three", "segments", first("a-1 1.0"), "badly formatted .*segments"),
    ("segments has four words in a line, not five", "segments", first("a-1 1.0 2.0 1"), "badly formatted .*segments"),
    ("segments end after they start", "segments", first("a-1 2.0 2.0"), "badly formatted .*segments"),
    ("segments and wav.scp tell of the same recordings", "segments", first("a-9 1.0 2.0"), "wav.scp has missing a-9"),
    ("reco2file_and_channel has three words, not two", "reco2file_and_channel", first("A"), "badly formatted"),
    ("reco2file_and_channel has three words, not four", "reco2file_and_channel", first("f A A"), "badly formatted"),
    ("reco2file_and_channel knows A and B", "reco2file_and_channel", first("f C"), "badly formatted .*A or B"),
    *[(f"spk2gender knows m and f, not {value!r}", "spk2gender", first(value), "badly formatted .*spk2gender")
      for value in ("x", "M", "m f", "")],
    *[(f"{name} is between 0.5 and 1.5, not {value!r}", name, first(value), f"badly formatted .*{name}")
      for name in ("spk2warp", "utt2warp") for value in ("0.5", "1.5", "-1", "1.0 1.0", "")],
    *[(f"{name} is above 0, not {value!r}", name, first(value), f"badly formatted .*{name}")
      for name in ("utt2dur", "reco2dur", "utt2num_frames") for value in ("0", "-1", "1 1", "")],
    ("utt2num_frames is whole", "utt2num_frames", first("1.5"), "badly formatted .*utt2num_frames"),
]
WITHOUT_SEGMENTS = [
    *[(f"{name} tells of the utterances: none less", name, lambda lines: lines[1:], "missing a-1") for name in
      OF_RECORDINGS],
    *[(f"{name} tells of the utterances: none more", name, lambda lines: [*lines, lines[-1].replace("b-2", "b-3", 1)],
       "extra b-3") for name in OF_RECORDINGS],
    ("reco2file_and_channel knows A and B", "reco2file_and_channel", first("f C"), "badly formatted .*A or B"),
]


def check_rule(directory, name, change, problem):
    path = directory / name
    assert datacheck.validate(directory) == []
    if change is None:
        path.unlink()
    else:
        lines = path.read_bytes().decode().splitlines(keepends=True)
        path.write_bytes("".join(change(lines)).encode())
    found = datacheck.validate(directory)
    assert any(re.search(problem, line) for line in found), found


@pytest.mark.parametrize("rule, name, change, problem", RULES, ids=[ascii(rule) for rule, *_ in RULES])
def test_every_rule_of_kaldi_holds(data, rule, name, change, problem):
    check_rule(data, name, change, problem)


@pytest.mark.parametrize("rule, name, change, problem", WITHOUT_SEGMENTS, ids=[rule for rule, *_ in WITHOUT_SEGMENTS])
def test_every_rule_of_kaldi_holds_without_segments(plain, rule, name, change, problem):
    for table, value in (("reco2dur", "3.0"), ("reco2file_and_channel", "file A")):
        (plain / table).write_text("".join(f"{u} {value}\n" for u in ("a-1", "a-2", "b-1", "b-2")))
    check_rule(plain, name, change, problem)


def test_what_kaldi_accepts_is_accepted(data):
    (data / "text").write_text("a-1 \u200cمی\u200cروم\na-2 <noise> #01 s>\nb-1 \ue000\nb-2\n", encoding="utf-8")
    (data / "reco2file_and_channel").write_text("a-1 file 1\nb-1 file B\n")
    assert datacheck.validate(data) == []


# Properties

BOUNDED = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
EDITS = st.tuples(
    st.sampled_from(sorted(datacheck.TABLES)), st.integers(0, 4),
    st.sampled_from(["delete", "double", "swap", "blank", "cut", "return", "cell", "junk", "clear", "join"]),
    st.sampled_from(["", "a", "a-1", "b-2", "0", "-1", "nan", "1e999", "x y z", "~/a", "<s>", "|", "\udcff", "\x00",
                     "é", "\xa0", "a\rb"]),
)


def edited(lines, number, kind, word):
    """The lines of a table after a slip of the hand."""
    number = min(number, len(lines) - 1)
    line = lines[number] if lines else "\n"
    key = line.split(" ")[0].strip()
    changed = {
        "delete": [], "double": [line, line], "blank": [line, "\n"], "cut": [line[:-1]], "junk": [f"{word}\n", line],
        "return": [line[:-1] + "\r\n"], "cell": [f"{key} {word}\n"], "clear": [f"{key}\n"],
        "join": [line[:-1] + " " + word + "\n"], "swap": [line],
    }[kind]
    lines = [*lines[: max(0, number)], *changed, *lines[number + 1 :]]
    return lines[::-1] if kind == "swap" else lines


@BOUNDED
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_whatever_the_fault_fix_mends_for_good_or_touches_nothing_and_loses_nothing(data, edits):
    broken = data.parent / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(data, broken)
    for name, *edit in edits:
        lines = (broken / name).read_bytes().decode("utf-8", "surrogateescape").splitlines(keepends=True)
        (broken / name).write_bytes("".join(edited(lines, *edit)).encode("utf-8", "surrogateescape"))
    before = files(broken)
    try:
        kept, total = datacheck.fix(broken)
    except DataError as error:
        assert files(broken) == before and str(broken) in str(error)
        return
    after = files(broken)
    assert not [line for line in datacheck.validate(broken) if "do not exist" not in line]
    for name, old in before.items():
        assert after.get(name) == old or after[f".backup/{name}"] == old
    assert 0 < kept <= total
    assert datacheck.fix(broken) == (kept, kept) and files(broken) == after
    assert len(datadir.read(broken, allow_pipes=True)) == kept


WORD = st.binary(min_size=1, max_size=6).map(os.fsdecode).filter(lambda text: text.split() == [text])
PATH = st.binary(min_size=1, max_size=12).map(os.fsdecode)
SECONDS = st.floats(1e-3, 1e6, allow_nan=False)


@st.composite
def directories(draw):
    """Utterances of a directory: all of them spans or none, all durations and sexes known or none."""
    spans, lasting, sexed = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    found = []
    for speaker in draw(st.lists(WORD, min_size=1, max_size=3, unique=True)):
        sex = draw(st.sampled_from("mf")) if sexed else None
        for take in draw(st.lists(WORD, min_size=1, max_size=3, unique=True)):
            start, length = (draw(SECONDS), draw(SECONDS)) if spans else (None, None)
            with suppress(DataError):   # of a path that wav.scp cannot hold
                found.append(Utterance(
                    f"{speaker}-{take}", speaker, draw(PATH), draw(st.sampled_from(datadir.labels.EMOTIONS)),
                    start, start + length if spans else None, draw(SECONDS) if lasting else None, sex,
                ))
    return found


@BOUNDED
@given(directories())
def test_what_is_written_reads_back_equal(tmp_path, utterances):
    try:
        datadir.write(tmp_path / "data", utterances)
    except DataError:
        assert not utterances or datadir.order_problems({u.id: u.speaker for u in utterances}) or len(
            {u.id for u in utterances}) < len(utterances)
        return
    assert datadir.read(tmp_path / "data", allow_pipes=True) == sorted(utterances, key=lambda u: datadir.c_order(u.id))
    assert not [line for line in datacheck.validate(tmp_path / "data") if "do not exist" not in line]
    before = files(tmp_path / "data")
    assert datacheck.fix(tmp_path / "data") == (len(utterances), len(utterances))
    assert files(tmp_path / "data") == before


def test_a_value_of_a_no_break_space_is_one_to_validate_and_to_fix(data):
    replace(data / "vad.scp", "a-1 v.ark:1\na-2 v.ark:1", "a-2 v.ark:1\na-1 \xa0")
    datacheck.fix(data)
    assert datacheck.validate(data) == [] and "a-1 \xa0\n" in (data / "vad.scp").read_text(encoding="utf-8")


def test_sentences_go_along_with_their_utterances_and_no_others_stay(data, tmp_path):
    utterances, out = datadir.read(data), tmp_path / "out"
    datacheck.write(out, utterances, [data])
    told = {"text", "utt2lang", "utt2uniq"}
    assert told <= {path.name for path in out.iterdir()} and not (out / "feats.scp").exists()
    (out / "feats.scp").write_text((data / "feats.scp").read_text())
    (out / "cmvn.scp").write_text("a c.ark:1\nb c.ark:2\n")
    datacheck.write(out, utterances, [data])   # the same once more
    assert (out / "feats.scp").exists() and (out / "cmvn.scp").exists()
    datacheck.write(out, utterances[:1], [data])
    assert dict(datadir.read_table(out / "text")) == {utterances[0].id: "so it is"}
    assert not (out / "feats.scp").exists() and datacheck.validate(out) == []
    (data / "text").write_text(f"{utterances[1].id} it is\n")   # not of all
    datacheck.write(out, utterances[:2], [data])
    assert not (out / "text").exists() and datacheck.validate(out) == []
