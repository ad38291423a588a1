import re

import pytest

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
