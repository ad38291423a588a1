"""emotion data check: what directories share that they must not."""

import numpy as np
import pytest
import soundfile

from emotion import datadir, overlap
from emotion.cli import main
from emotion.datadir import DataError, Utterance

RATE = 16_000


def murmur(seed: int) -> np.ndarray:
    """A second of noise whose spectrum moves, another one for each seed."""
    rng = np.random.default_rng(seed)
    gains = np.exp(np.cumsum(rng.normal(0, 0.7, (40, 60)), axis=0))
    return 0.1 * np.concatenate([np.convolve(rng.normal(size=400), part, "same") / part.sum() for part in gains])


def directory(path, speakers: str, seeds=None, texts=None, ending="wav") -> str:
    """A data directory with a murmur of anger and one of calm for each speaker; seeds: others than by name."""
    path.mkdir(parents=True)
    utterances = []
    for speaker in speakers.split():
        for k, emotion in enumerate(("anger", "calm")):
            name = f"{speaker}-{emotion}"
            wav = path / f"{name}.{ending}"
            soundfile.write(wav, murmur((seeds or {}).get(name, 10 * ord(speaker) + k)), RATE)
            utterances.append(Utterance(name, speaker, str(wav), emotion))
    datadir.write(path, utterances)
    if texts:
        datadir.write_table(path / "text", {u.id: texts[u.emotion] for u in utterances})
    return str(path)


def test_directories_that_share_nothing_pass_and_their_classes_are_counted(tmp_path, capsys):
    train, test = directory(tmp_path / "train", "a b"), directory(tmp_path / "test", "c")
    assert main(["data", "check", train, test]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"| | {train} | {test} |", "|---|---|---|", "| anger | 2 | 1 |", "| calm | 2 | 1 |", "| all | 4 | 2 |",
        "| speakers | 2 | 1 |",
    ]
    assert not said.err


def test_a_speaker_in_two_of_them_is_an_error(tmp_path, capsys):
    train, test = directory(tmp_path / "train", "a b"), directory(tmp_path / "test", "b c", {"b-anger": 1, "b-calm": 2})
    assert main(["data", "check", train, test]) == 1
    assert f"{train} and {test} share 1 speakers (b)" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_recording_in_two_of_them_is_an_error_whatever_it_is_called_and_coded(tmp_path, ending, capsys):
    train = directory(tmp_path / "train", "a b")
    test = directory(tmp_path / "test", "c d", {"d-calm": 10 * ord("a")}, ending=ending)
    assert main(["data", "check", train, test]) == 1
    said = capsys.readouterr().err
    assert f"{train} and {test} share 1 recordings (a-anger is d-calm)" in said and "Leave one of each two out" in said


def test_one_directory_is_checked_between_its_speakers(tmp_path, capsys):
    fine = directory(tmp_path / "fine", "a b", {"a-calm": 10 * ord("a")})   # twice, but of one speaker
    assert main(["data", "check", fine]) == 0
    torn = directory(tmp_path / "torn", "a b", {"b-calm": 10 * ord("a")})
    assert main(["data", "check", torn]) == 1
    assert "a and b share 1 recordings (a-anger is b-calm)" in capsys.readouterr().err


def test_a_span_is_the_same_recording_as_its_copy(tmp_path):
    pieces = [murmur(k) for k in range(3)]
    soundfile.write(tmp_path / "all.wav", np.concatenate(pieces), RATE)
    soundfile.write(tmp_path / "copy.flac", 0.3 * pieces[1], RATE)
    spans = [Utterance(f"a-{k}", "a", str(tmp_path / "all.wav"), "calm", float(k), k + 1.0) for k in range(3)]
    copy = Utterance("b-1", "b", str(tmp_path / "copy.flac"), "calm")
    (line,) = overlap.shared_recordings({"train": spans, "test": [copy]})
    assert "(a-1 is b-1)" in line


def test_a_sentence_in_two_of_them_warns_or_fails_where_asked(tmp_path, capsys):
    train = directory(tmp_path / "train", "a", texts={"anger": "Dogs are sitting.", "calm": "Kids are talking!"})
    test = directory(tmp_path / "test", "b", texts={"anger": "kids are  talking", "calm": "It is eleven"})
    assert main(["data", "check", train, test]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"emotion data check: warning: {train} and {test} share 1 sentences (kids are talking)")
    assert main(["data", "check", train, test, "--strict-text"]) == 1
    assert "warning" not in capsys.readouterr().err
    assert main(["data", "check", train, directory(tmp_path / "bare", "c"), "--strict-text"]) == 1
    assert "has no sentences in a table text" in capsys.readouterr().err


def test_a_directory_given_twice_is_refused(tmp_path, capsys):
    train = directory(tmp_path / "train", "a")
    assert main(["data", "check", train, train]) == 1
    assert "given twice" in capsys.readouterr().err


def test_a_directory_without_texts_shares_none(tmp_path):
    assert overlap.texts(directory(tmp_path / "train", "a")) == set()
    assert overlap.shared_texts({"train": set(), "test": {"it is eleven"}}) == []


def test_a_recording_that_cannot_be_read_is_named(tmp_path):
    train = directory(tmp_path / "train", "a")
    (tmp_path / "train/a-calm.wav").write_bytes(b"")
    with pytest.raises(DataError, match="a-calm: .*a-calm.wav: is empty"):
        overlap.shared_recordings({"train": datadir.read(train)})
