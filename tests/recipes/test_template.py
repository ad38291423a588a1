"""recipes/template and recipes/folds.py: recordings of one's own, and folds of speakers that nobody published."""

import importlib.util
import itertools
import json
import shutil
from collections import Counter

import pytest
import yaml
from miniatures import RECIPES, load, sound, table

from emotion import audio, datadir, splits
from emotion.datadir import DataError, Utterance
from emotion.labels import LabelError

TEMPLATE = load("template")
PEOPLE = (("anna", "f"), ("ben", "m"), ("cleo", "f"), ("dan", "m"))
LABELS = {"angry": "anger", "calm": "calm"}


@pytest.fixture
def calls(tmp_path):
    """Recordings by label and speaker; (path, speaker, label, sex) of each."""
    found = []
    for (speaker, sex), label in itertools.product(PEOPLE, LABELS):
        path = tmp_path / "calls" / label / speaker / f"{speaker} {label}.wav"
        sound(path)
        found.append((path, speaker, label, sex))
    return found


def forms(calls, folder):
    """The same corpus in each form: {name: what to give}"""
    files = [(str(path.relative_to(folder)), *rest) for path, *rest in calls]
    head = ("file", "speaker", "label", "sex")
    table(folder / "labels.csv", head, *files)
    table(folder / "labels.tsv", head, *files, separator="\t")
    (folder / "labels.jsonl").write_text("".join(json.dumps(dict(zip(head, file))) + "\n" for file in files) + "\n")
    ids = {f"{speaker}-{path.stem.replace(' ', '-')}": (path, speaker, label) for path, speaker, label, _ in calls}
    kaldi = folder / "kaldi"
    kaldi.mkdir()
    for name, column in (("wav.scp", 0), ("utt2spk", 1), ("utt2emotion", 2)):
        datadir.write_table(kaldi / name, {u: str(row[column]) for u, row in ids.items()})
    datadir.write_table(kaldi / "spk2gender", dict(PEOPLE))
    (folder / "db.yaml").write_text("name: calls\n")
    table(folder / "db.files.csv", ("file", "speaker", "sex"), *((name, who, sex) for name, who, _, sex in files))
    turns = ((name, "", "NaT", label) for name, _, label, _ in files)
    table(folder / "db.emotion.csv", ("file", "start", "end", "label"), *turns)
    return {name: folder / name for name in ("labels.csv", "labels.tsv", "labels.jsonl", "kaldi", ".")}


@pytest.mark.parametrize("form", ["labels.csv", "labels.tsv", "labels.jsonl", "kaldi", "."])
def test_every_form_tells_the_same(form, calls, tmp_path):
    found = TEMPLATE.CORPUS.utterances(forms(calls, tmp_path)[form])
    assert sorted((u.id, u.speaker, u.emotion, u.sex) for u in found) == sorted(
        (f"{speaker}-{speaker}-{label}", speaker, LABELS[label], sex) for _, speaker, label, sex in calls
    )
    assert {u.wav for u in found} == {str(path) for path, *_ in calls}


def test_a_folder_tells_by_its_paths_and_by_a_pattern_of_ones_own(calls, tmp_path):
    found = TEMPLATE.CORPUS.utterances(tmp_path / "calls")
    assert Counter(u.speaker for u in found) == {speaker: 2 for speaker, _ in PEOPLE}
    flat = tmp_path / "flat"
    for path, speaker, label, sex in calls:
        flat.mkdir(exist_ok=True)
        shutil.copy(path, flat / f"{label}_{speaker}_{sex}_01.wav")
    with pytest.raises(ValueError, match="does not tell label and speaker by --pattern"):
        TEMPLATE.CORPUS.utterances(flat)
    pattern = "(?P<label>[^_]+)_(?P<speaker>[^_]+)_(?P<sex>[mf])_.*"
    found = TEMPLATE.OwnCorpus(**{**vars(TEMPLATE.CORPUS), "pattern": pattern}).utterances(flat)
    assert {(u.speaker, u.sex) for u in found} == set(PEOPLE)


def test_a_table_may_cut_spans_in_seconds_or_as_pandas_writes_them(calls, tmp_path):
    file = calls[0][0].relative_to(tmp_path)
    table(tmp_path / "turns.csv", ("file", "speaker", "label", "start", "end"), (file, "anna", "angry", "0", "0.01"),
          (file, "anna", "calm", "0 days 00:00:00.010000", "0 days 00:00:00.030000"))
    found = TEMPLATE.CORPUS.utterances(tmp_path / "turns.csv")
    assert [(u.emotion, u.start_seconds, u.stop_seconds) for u in found] == [("anger", 0, 0.01), ("calm", 0.01, 0.03)]
    assert TEMPLATE.seconds("1 days 01:02:03.5") == 86400 + 3600 + 120 + 3.5


def test_a_span_without_an_end_goes_to_the_end_of_the_file_and_none_beyond_it(calls, tmp_path):
    file, columns = calls[0][0].relative_to(tmp_path), ("file", "speaker", "label", "start", "end")
    whole = audio.duration(calls[0][0])
    table(tmp_path / "turns.csv", columns, (file, "anna", "angry", "0", "0.01"), (file, "anna", "calm", "0.01", "NaT"))
    found = TEMPLATE.CORPUS.utterances(tmp_path / "turns.csv")
    assert [(u.start_seconds, u.stop_seconds) for u in found] == [(0, 0.01), (0.01, whole)]
    for start, end in (("0", "2000"), ("100", ""), ("0.02", "0.01")):
        table(tmp_path / "turns.csv", columns, (file, "anna", "angry", start, end))
        with pytest.raises(ValueError, match="is no part of its"):
            TEMPLATE.CORPUS.utterances(tmp_path / "turns.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_may_be_as_spreadsheets_write_them(calls, tmp_path, encoding):
    """Where numbers have commas: semicolons between cells."""
    file = calls[0][0].relative_to(tmp_path)
    lines = ["file;speaker;label;start;end;arousal", f"{file};anna;angry;0;0,01;0,25", f"{file};anna;calm;0,01;0,03;"]
    (tmp_path / "turns.CSV").write_text("\n".join(lines), encoding)
    found = TEMPLATE.CORPUS.utterances(tmp_path / "turns.CSV")
    assert [(u.start_seconds, u.stop_seconds, u.arousal) for u in found] == [(0, 0.01, 0.25), (0.01, 0.03, None)]
    (tmp_path / "turns.CSV").write_text("\n".join([*lines, f"{file};anna;calm;soon;;"]), encoding)
    with pytest.raises(ValueError, match=r"turns.CSV: entry 3, .*start 'soon' and end '' are no seconds"):
        TEMPLATE.CORPUS.utterances(tmp_path / "turns.CSV")


def test_sexes_that_are_known_of_some_are_told(calls, tmp_path, capsys):
    rows = [(path.relative_to(tmp_path), who, label, "woman" if who == "anna" else sex)
            for path, who, label, sex in calls]
    table(tmp_path / "a.csv", ("file", "speaker", "label", "sex"), *rows)
    TEMPLATE.CORPUS.doubt(TEMPLATE.CORPUS.utterances(tmp_path / "a.csv"))
    assert "nothing here tells m or f of anna, so it is kept of nobody" in capsys.readouterr().err


def test_speakers_that_would_be_one_are_refused(calls, tmp_path):
    file = calls[0][0].relative_to(tmp_path)
    table(tmp_path / "a.csv", ("file", "speaker", "label"), (file, "Anna B", "angry"), (file, "Anna_B", "calm"))
    with pytest.raises(ValueError, match="'Anna B' and 'Anna_B' would both be Anna_B"):
        TEMPLATE.CORPUS.utterances(tmp_path / "a.csv")


def test_labels_may_be_numbers_and_what_are_none_is_told(calls, tmp_path, capsys):
    rows = [(path.relative_to(tmp_path), who, "1" if label == "angry" else "no") for path, who, label, _ in calls]
    table(tmp_path / "a.csv", ("file", "speaker", "label"), *rows)
    words = [str(tmp_path / "a.csv"), str(tmp_path / "data"), f"--labels={tmp_path / 'labels.yaml'}"]
    (tmp_path / "labels.yaml").write_text("1: anger\nno: calm\n")
    TEMPLATE.prepare(TEMPLATE.CORPUS, "", words, dict.fromkeys(TEMPLATE.OPTIONS))
    assert {u.emotion for u in datadir.read(tmp_path / "data")} == {"anger", "calm"}
    for content in ("", "a: [b", "- anger", "a: [anger]"):
        (tmp_path / "labels.yaml").write_text(content)
        with pytest.raises(SystemExit, match="prepare.py: "):
            TEMPLATE.prepare(TEMPLATE.CORPUS, "", words, dict.fromkeys(TEMPLATE.OPTIONS))


def test_votes_of_a_kaldi_directory_are_kept_by_their_own_labels(calls, tmp_path):
    kaldi = forms(calls, tmp_path)["kaldi"]
    ids = [utterance for utterance, _ in datadir.read_table(kaldi / "utt2spk")]
    datadir.write_table(kaldi / "utt2votes", {u: "-" if k else "angry:3 calm:1" for k, u in enumerate(ids)})
    votes = {u.id: u.votes for u in TEMPLATE.CORPUS.utterances(kaldi)}
    assert dict(votes.pop(ids[0])) == {"anger": 3, "calm": 1} and not any(votes.values())
    datadir.write_table(kaldi / "utt2votes", dict.fromkeys(ids, "angry"))
    with pytest.raises(ValueError, match="must be like anger:3 neutral:2"):
        TEMPLATE.CORPUS.utterances(kaldi)


@pytest.mark.parametrize("name", ["utt2emotion", "wav.scp"])
def test_a_kaldi_directory_that_is_not_whole_is_refused_by_what_it_lacks(name, calls, tmp_path):
    path = forms(calls, tmp_path)["kaldi"] / name
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match=f"{name} lacks anna-anna-angry"):
        TEMPLATE.CORPUS.utterances(tmp_path / "kaldi")


def test_other_names_of_columns_can_be_given(calls, tmp_path):
    files = [(path, speaker, label) for path, speaker, label, _ in calls]
    table(tmp_path / "own.csv", ("path", "who", "mood"), *files)
    with pytest.raises(ValueError, match="entry 1 does not tell file, speaker and label; it has path, who, mood"):
        TEMPLATE.CORPUS.utterances(tmp_path / "own.csv")
    words = ["--file-column=path", "--speaker-column=who", "--label-column=mood", str(tmp_path / "own.csv")]
    TEMPLATE.prepare(TEMPLATE.CORPUS, "", [*words, str(tmp_path / "data")], dict.fromkeys(TEMPLATE.OPTIONS))
    assert len(datadir.read(tmp_path / "data")) == 8


# Ratings

HEAD = ("file", "speaker", "label", "arousal", "dominance")


def scaled(ratings, source):
    """The utterances of a source whose listeners rated on this scale, by id."""
    return {u.id: u for u in TEMPLATE.OwnCorpus(**{**vars(TEMPLATE.CORPUS), "ratings": ratings}).utterances(source)}


@pytest.mark.parametrize("form", ["labels.csv", "labels.tsv", "labels.jsonl", "audformat", "kaldi"])
def test_ratings_go_from_0_to_1_and_an_empty_cell_is_none(form, calls, tmp_path):
    cells = [("1", "7"), ("7", ""), ("2.5", "4"), ("", "")]
    rows = [(str(path.relative_to(tmp_path)), who, label, *cell) for (path, who, label, _), cell in zip(calls, cells)]
    source = tmp_path / form
    if form == "labels.jsonl":
        numbers = ({**dict(zip(HEAD, row)), "arousal": float(row[3]) if row[3] else None} for row in rows)
        source.write_text("".join(json.dumps(line) + "\n" for line in numbers))
    elif form == "kaldi":
        forms(calls[:4], tmp_path)
        for name, column in (("utt2arousal", 0), ("utt2dominance", 1)):
            datadir.write_table(source / name, {f"{who}-{who}-{label}": cell[column] or "-"
                                                for (_, who, label, _), cell in zip(calls, cells)})
    elif form == "audformat":
        source = tmp_path
        (source / "db.yaml").write_text("name: calls\n")
        table(source / "db.files.csv", HEAD[:3], *(row[:3] for row in rows))
        table(source / "db.ratings.csv", ("file", *HEAD[3:]), *((row[0], *row[3:]) for row in rows))
    else:
        table(source, HEAD, *rows, separator="\t" if form.endswith("tsv") else ",")
    found = scaled("1,7", source)
    assert [(found[f"{who}-{who}-{label}"].arousal, found[f"{who}-{who}-{label}"].dominance)
            for _, who, label, _ in calls[:4]] == [(0, 1), (1, None), (0.25, 0.5), (None, None)]
    assert {u.valence for u in found.values()} == {None}


@pytest.mark.parametrize(("ratings", "cell", "scale"), [
    ("1,7", "7.01", "from 1 to 7"), ("1,7", "0", "from 1 to 7"), ("1,7", "high", "from 1 to 7"),
    ("1,7", "3;5", "from 1 to 7"), ("1,7", "nan", "from 1 to 7"), ("-1,1", "-1.5", "from -1 to 1"),
    ("0,1", "4", "from 0 to 1"), ("0,1", "inf", "from 0 to 1"),
])
def test_what_is_no_rating_is_refused_with_its_place_and_the_remedy(ratings, cell, scale, calls, tmp_path):
    rows = [(path, who, label, "0.5" if ratings != "1,7" else "5") for path, who, label, _ in calls]
    table(tmp_path / "labels.tsv", HEAD[:4], *rows[:2], (*rows[2][:3], cell), *rows[3:], separator="\t")
    with pytest.raises(ValueError) as refused:
        scaled(ratings, tmp_path / "labels.tsv")
    assert str(refused.value) == (
        f"{tmp_path / 'labels.tsv'}: entry 3, {rows[2][0]}: arousal {cell!r} is no number {scale}. Correct it, name "
        "the ends of your scale with --ratings LOW,HIGH, as in --ratings 1,7, or leave it empty: nobody rated.")


@pytest.mark.parametrize("ratings", ["7", "7,1", "1,1", "low,high", "1,4,7", "nan,1", "0,inf", ""])
def test_a_scale_without_two_ends_is_refused(ratings, calls, tmp_path):
    table(tmp_path / "labels.csv", HEAD[:4], *((path, who, label, "1") for path, who, label, _ in calls))
    with pytest.raises(ValueError, match=f"--ratings {ratings} must be the lowest and the highest .* --ratings 1,7"):
        scaled(ratings, tmp_path / "labels.csv")


def test_ratings_are_written_and_counted_and_one_that_is_none_ends_with_one_message(calls, tmp_path, capsys):
    rows = [(path, who, "unknown", i % 5 or "") for i, (path, who, *_) in enumerate(calls)]
    table(tmp_path / "labels.csv", HEAD[:4], *rows)
    words = ["--ratings=0,4", str(tmp_path / "labels.csv"), str(tmp_path / "data")]
    TEMPLATE.prepare(TEMPLATE.CORPUS, "", words, dict.fromkeys(TEMPLATE.OPTIONS))
    assert {u.arousal for u in datadir.read(tmp_path / "data")} == {None, 0.25, 0.5, 0.75, 1.0}
    assert not (tmp_path / "data" / "utt2valence").exists()
    assert "arousal        6 rated" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="^prepare.py: .*labels.csv: entry 3, .*arousal '2' is no number from 0 to 1"):
        TEMPLATE.prepare(TEMPLATE.CORPUS, "", words[1:], dict.fromkeys(TEMPLATE.OPTIONS))


def test_recordings_that_are_only_rated_raise_no_doubt_about_emotions(calls, capsys):
    found = [Utterance(f"{who}-{i}", who, str(path), "unknown", duration_seconds=1 + i / 100, arousal=0.5)
             for i, (path, who, *_) in enumerate(calls * 3)]
    TEMPLATE.CORPUS.doubt(found)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("change", "kind", "said"), [
    ((",angry,", ",furious,"), LabelError, "emotion 'furious' is not among .*labels.yaml"),
    (("anna angry.wav", "gone.wav"), FileNotFoundError, "names 1 files that are not there: .*gone.wav"),
    (("file,", "name,"), ValueError, "does not tell file"),
])
def test_a_table_that_does_not_fit_is_refused_with_what_to_mend(change, kind, said, calls, tmp_path):
    path = forms(calls, tmp_path)["labels.csv"]
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(kind, match=said):
        TEMPLATE.CORPUS.utterances(path)


@pytest.mark.parametrize("name", ["labels.xlsx", "nothing"])
def test_what_is_no_corpus_is_refused_with_the_forms_there_are(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder and no table that ends in .csv, .tsv or .jsonl"):
        TEMPLATE.CORPUS.utterances(tmp_path / name)


# Folds

spec = importlib.util.spec_from_file_location("folds", RECIPES / "folds.py")
folds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(folds)


def people(number, emotions=("anger", "calm"), each=3):
    """Utterances of this many speakers, women and men in turn."""
    return [Utterance(f"s{n:02}-{emotion}{i}", f"s{n:02}", "a.wav", emotion, sex="fm"[n % 2])
            for n in range(number) for emotion in emotions for i in range(each)]


@pytest.mark.parametrize("number", [4, 5, 10, 23])
def test_every_speaker_is_dealt_once_and_no_fold_is_empty(number):
    dealt = folds.deal(people(number))
    assert len(dealt) == min(5, number) and all(dealt)
    assert Counter(speaker for fold in dealt for speaker in fold) == Counter({u.speaker for u in people(number)})


def test_folds_are_as_alike_in_sexes_and_emotions_as_may_be_and_the_same_each_time():
    # ten speakers with one emotion each: two of each emotion, one of them a man, for five folds
    names = ("anger", "boredom", "calm", "fear", "sadness")
    everybody = people(20)
    for fold in folds.deal(everybody):
        assert Counter("fm"[int(speaker[1:]) % 2] for speaker in fold) == {"f": 2, "m": 2}
    nested = [u for n, emotion in enumerate(names * 5) for u in people(n + 1, (emotion,)) if u.speaker == f"s{n:02}"]
    for fold in folds.deal(nested):
        assert {u.emotion for u in nested if u.speaker in fold} == set(names)
    assert folds.deal(everybody) == folds.deal(reversed(everybody))


def test_three_speakers_are_too_few():
    with pytest.raises(DataError, match="3 speakers are too few: two must train, one validate and one test"):
        folds.deal(people(3))


def test_a_made_split_is_read_like_a_published_one(tmp_path):
    datadir.write(tmp_path / "data", people(7))
    folds.main([str(tmp_path / "data"), str(tmp_path / "folds.yaml")])
    made = splits.read(tmp_path / "folds.yaml")
    assert made.name == "folds" and len(made.folds) == 5
    for (test, _), (_, valid) in zip((*made.folds[1:], made.folds[0]), made.folds):
        assert test == valid


def test_parts_of_a_table_are_one_fold_of_the_speakers_that_are_there(tmp_path, capsys):
    datadir.write(tmp_path / "data", people(3))
    (tmp_path / "spk2part").write_text("s00 train\ns01 valid\ns02 test\ns03 test\n")
    words = [str(tmp_path / "data"), str(tmp_path / "official.yaml"), "--parts", str(tmp_path / "spk2part")]
    folds.main(words)
    assert yaml.safe_load((tmp_path / "official.yaml").read_text())["folds"] == [{"test": ["s02"], "valid": ["s01"]}]
    (tmp_path / "spk2part").write_text("s00 train\ns01 train\ns02 test\n")
    with pytest.raises(SystemExit, match="leaves 0 speakers to validate and 1 to test"):
        folds.main(words)
    (tmp_path / "spk2part").write_text("s00 dev\ns01 valid\n")
    with pytest.raises(SystemExit, match="does not say train, valid or test of s00, s02"):
        folds.main(words)
    (tmp_path / "spk2part").write_text("s00 train\ns01 valid\ns02 test\n")
    with pytest.raises(SystemExit, match="No such file"):
        folds.main([words[0], str(tmp_path / "none" / "a.yaml"), *words[2:]])
