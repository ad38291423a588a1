"""recipes/corpus.py, the local/prepare.py of each corpus, and the speakers of the split files."""

import importlib.util
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from emotion import audio, datadir, labels, splits

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def load(recipe):
    """The local/prepare.py of a recipe as a module."""
    spec = importlib.util.spec_from_file_location(f"prepare_{recipe}", RECIPES / recipe / "local/prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CORPORA = {name: load(name).CORPUS for name in ("ravdess", "emodb", "nemo")}
SEXES = {f"{name}{speaker}": sex for name in ("cremad", "esd") for speaker, sex in load(name).CORPUS.sexes.items()}


def record(path, seconds=0.1, sample_rate=16000, channels=1):
    """A short noise, in the format of the path's extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (round(seconds * sample_rate), channels))
    soundfile.write(path, noise, sample_rate)


@pytest.fixture
def ravdess(tmp_path):
    """Two actors in the layout of the published archive: 48 kHz wav, one stereo; song and video beside."""
    speech = tmp_path / "RAVDESS" / "Audio_Speech_Actors_01-24"
    record(speech / "Actor_01/03-01-01-01-01-01-01.wav", 0.25, 48000)
    record(speech / "Actor_01/03-01-06-01-02-01-01.wav", 0.5, 48000, channels=2)
    record(speech / "Actor_24/03-01-08-02-02-02-24.wav", 0.1, 48000)
    record(tmp_path / "RAVDESS/Audio_Song_Actors_01-24/Actor_01/03-02-06-01-02-01-01.wav")
    record(tmp_path / "RAVDESS/Video_Speech_Actor_01/01-01-06-01-02-01-01.wav")
    (tmp_path / "RAVDESS/Video_Speech_Actor_01/02-01-06-01-02-01-01.mp4").write_bytes(b"no sound")
    record(speech / "Actor_01/._03-01-02-01-02-01-01.wav")   # macOS leaves such
    return speech


@pytest.fixture
def emodb(tmp_path):
    """Two speakers, all seven letters, in the layout of the published archive."""
    wav = tmp_path / "emodb" / "wav"
    for name in ("03a01Fa", "03a01Wa", "03a02Nc", "03b10Ec", "16a04Lb", "16b01Aa", "16b10Td"):
        record(wav / f"{name}.wav")
    (tmp_path / "emodb/silb").mkdir()
    (tmp_path / "emodb/silb/03a01Fa.silb").write_text("no sound")
    return wav


TABLE = """file_id	emotion	raw_text	normalized_text	speaker_id	gender	age
WR0_surprised_64.wav	surprised	Ucho wykrywa "dźwięki".	ucho	        WR0	male	23
EB0_neutral_13.wav	neutral	Interesuje mnie historia.	historia	        EB0	female	27
EB0_fear_2.wav	fear	Kawa.	kawa	        EB0	female	27
"""


@pytest.fixture
def nemo(tmp_path):
    """Two speakers and their table in the published layout, one recording made another format; notes beside."""
    folder = tmp_path / "nEMO"
    for name in ("WR0_surprised_64.wav", "EB0_neutral_13.ogg", "EB0_fear_2.wav", "EB0_fear_3.wav"):
        record(folder / "samples" / name, sample_rate=24000)
    (folder / "data.tsv").write_text(TABLE, encoding="utf-8")
    (folder / "README.md").write_text("no sound")
    return folder


def test_ravdess_names_become_ids_speakers_and_emotions(ravdess):
    found = {u.id: (u.speaker, u.emotion) for u in CORPORA["ravdess"].utterances(ravdess)}
    assert found == {
        "ravdess01-03-01-01-01-01-01-01": ("ravdess01", "neutral"),
        "ravdess01-03-01-06-01-02-01-01": ("ravdess01", "fear"),
        "ravdess24-03-01-08-02-02-02-24": ("ravdess24", "surprise"),
    }


def test_emodb_names_become_ids_speakers_and_emotions(emodb):
    found = {u.id: (u.speaker, u.emotion) for u in CORPORA["emodb"].utterances(emodb)}
    assert found == {
        "emodb03-03a01Fa": ("emodb03", "happiness"), "emodb03-03a01Wa": ("emodb03", "anger"),
        "emodb03-03a02Nc": ("emodb03", "neutral"), "emodb03-03b10Ec": ("emodb03", "disgust"),
        "emodb16-16a04Lb": ("emodb16", "boredom"), "emodb16-16b01Aa": ("emodb16", "fear"),
        "emodb16-16b10Td": ("emodb16", "sadness"),
    }


def test_nemos_table_tells_speaker_and_emotion_whatever_the_extension(nemo):
    found = {u.id: (u.speaker, u.emotion, Path(u.wav).name) for u in CORPORA["nemo"].utterances(nemo)}
    assert found == {   # EB0_fear_3 is not in the table
        "nemoEB0-EB0_fear_2": ("nemoEB0", "fear", "EB0_fear_2.wav"),
        "nemoEB0-EB0_neutral_13": ("nemoEB0", "neutral", "EB0_neutral_13.ogg"),
        "nemoWR0-WR0_surprised_64": ("nemoWR0", "surprise", "WR0_surprised_64.wav"),
    }


@pytest.mark.parametrize(("recipe", "sexes"), [
    ("ravdess", {"ravdess01": "m", "ravdess24": "f"}), ("emodb", {"emodb03": "m", "emodb16": "f"}),
    ("nemo", {"nemoEB0": "f", "nemoWR0": "m"}),
])
def test_the_sex_of_every_speaker_is_known(recipe, sexes, request):
    found = CORPORA[recipe].utterances(request.getfixturevalue(recipe))
    assert {u.speaker: u.sex for u in found} == sexes


def test_the_mini_corpus_alternates_men_and_women(tmp_path):
    for speaker in ("mini01", "mini02"):
        record(tmp_path / speaker / f"{speaker}-anger-03.wav")
    assert [(u.speaker, u.sex) for u in load("mini").utterances(tmp_path)] == [("mini01", "m"), ("mini02", "f")]


def test_every_published_emotion_has_a_canonical_name():
    assert CORPORA["ravdess"].names() == {
        "01": "neutral", "02": "calm", "03": "happiness", "04": "sadness", "05": "anger", "06": "fear",
        "07": "disgust", "08": "surprise",
    }
    assert CORPORA["emodb"].names() == {
        "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "N": "neutral",
        "T": "sadness",
    }
    assert CORPORA["nemo"].names() == {
        "anger": "anger", "fear": "fear", "happiness": "happiness", "neutral": "neutral", "sadness": "sadness",
        "surprised": "surprise",
    }
    assert sum(CORPORA["ravdess"].published.values()) == 1440 == 24 * 60
    assert sum(CORPORA["emodb"].published.values()) == 535
    assert sum(CORPORA["nemo"].published.values()) == 4481


def test_stereo_at_48_khz_is_taken_as_it_is_with_its_duration(ravdess):
    spoken = {u.id: u for u in CORPORA["ravdess"].utterances(ravdess)}["ravdess01-03-01-06-01-02-01-01"]
    assert spoken.duration_seconds == pytest.approx(0.5)
    assert audio.read(spoken.wav).shape == (8000,)


@pytest.mark.parametrize("recipe", CORPORA)
def test_any_parent_of_the_corpus_will_do(recipe, request, tmp_path):
    folder, corpus = request.getfixturevalue(recipe), CORPORA[recipe]
    assert corpus.utterances(folder) == corpus.utterances(folder.parent) == corpus.utterances(tmp_path)


@pytest.mark.parametrize("extension", ["flac", "WAV", "ogg", "aiff"])
def test_any_format_that_libsndfile_reads_will_do(extension, tmp_path):
    record(tmp_path / f"03a01Fa.{extension}")
    spoken, = CORPORA["emodb"].utterances(tmp_path)
    assert (spoken.id, spoken.emotion) == ("emodb03-03a01Fa", "happiness")


@pytest.mark.parametrize("recipe", CORPORA)
def test_the_data_directory_reads_back_with_absolute_paths(recipe, request, tmp_path, monkeypatch):
    folder = request.getfixturevalue(recipe)
    monkeypatch.chdir(folder)
    sys.modules["corpus"].prepare(CORPORA[recipe], "", [".", str(tmp_path / "data/all")])
    written = datadir.read(tmp_path / "data/all")
    assert written == CORPORA[recipe].utterances(folder)
    assert all(Path(u.wav).is_absolute() and Path(u.wav).exists() for u in written)


def test_a_recording_in_two_places_counts_once_and_is_told(emodb, tmp_path, capsys):
    record(tmp_path / "emodb/wav2/03a01Fa.flac")
    found = CORPORA["emodb"].utterances(tmp_path)
    assert len(found) == 7 and found[0].wav.endswith("wav/03a01Fa.wav")
    said = capsys.readouterr().err
    assert "1 files have a name that is there already" in said and "wav2/03a01Fa.flac" in said


def published(recipe, **fewer):
    """Utterances in the published numbers, less some of an emotion."""
    result = []
    for code, emotion in CORPORA[recipe].names().items():
        count = CORPORA[recipe].published[code] - fewer.get(emotion, 0)
        for number, speaker in zip(range(count), itertools.cycle(sorted(SPEAKERS[recipe]))):
            result.append(datadir.Utterance(f"{speaker}-{emotion}{number}", speaker, "a.wav", emotion))
    return result


@pytest.mark.parametrize("recipe", CORPORA)
def test_the_published_numbers_give_no_warning(recipe, capsys):
    CORPORA[recipe].compare(published(recipe))
    assert capsys.readouterr().err == ""


def test_a_part_of_a_corpus_is_shown_class_by_class_with_a_warning(capsys):
    CORPORA["emodb"].compare(published("emodb", boredom=81, disgust=46, fear=69))
    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert {"anger 127 of 127", "boredom 0 of 81", "all 339 of 535, 10 of 10 speakers"} <= set(lines)
    assert "not the published numbers" in err and "a part of the corpus" in err and "Fetch it again" in err


def test_one_missing_speaker_or_one_file_too_many_gives_a_warning(capsys):
    complete = published("ravdess")
    for odd in ([*complete, complete[0]], [u for u in complete if u.speaker != "ravdess07"]):
        CORPORA["ravdess"].compare(odd)
        assert "not the published numbers" in capsys.readouterr().err


def test_an_emotion_without_a_name_is_refused_with_the_file_to_mend(tmp_path):
    record(tmp_path / "03-01-09-01-01-01-01.wav")
    with pytest.raises(labels.LabelError, match="'09' is not among 01, .*Add it to .*conf/labels.yaml"):
        CORPORA["ravdess"].utterances(tmp_path)


def test_a_file_that_is_no_audio_is_refused_by_name(tmp_path):
    (tmp_path / "03a01Fa.wav").write_bytes(b"")
    with pytest.raises(audio.AudioError, match="03a01Fa.wav"):
        CORPORA["emodb"].utterances(tmp_path)


@pytest.mark.parametrize(("recipe", "remedy"), [
    ("ravdess", "holds no file like 03-01-06-01-02-01-12.wav.* Give the folder with Actor_01"),
    ("emodb", "holds no file like 03a01Fa.wav.* Give the folder wav"),
    ("nemo", "holds no data.tsv.* Give the folder with data.tsv and samples"),
])
def test_a_folder_without_the_corpus_is_refused_with_what_to_give(recipe, remedy, tmp_path):
    record(tmp_path / "another.wav")
    with pytest.raises(FileNotFoundError, match=remedy):
        CORPORA[recipe].utterances(tmp_path)


def test_a_table_without_its_recordings_is_refused_with_what_to_give(nemo):
    for path in (nemo / "samples").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="holds no file like WR0_surprised_64.wav.* Give the folder with"):
        CORPORA["nemo"].utterances(nemo)


def test_a_table_without_a_column_is_refused_by_its_name(nemo):
    (nemo / "data.tsv").write_text(TABLE.replace("speaker_id", "speaker"))
    with pytest.raises(ValueError, match="data.tsv has the columns .*, not speaker_id.*Fetch the published table"):
        CORPORA["nemo"].utterances(nemo)


@pytest.mark.parametrize("recipe", CORPORA)
def test_the_script_tells_a_fault_in_one_line(recipe, tmp_path):
    script = [sys.executable, RECIPES / recipe / "local/prepare.py", tmp_path / "nowhere", tmp_path / "data"]
    result = subprocess.run(script, capture_output=True, text=True, env={"PYTHONPATH": str(RECIPES.parent)})
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("prepare.py: ") and "nowhere" in result.stderr


# Splits

SPEAKERS = {
    "ravdess": {f"ravdess{n:02}" for n in range(1, 25)},
    "emodb": {f"emodb{n:02}" for n in (3, 8, 9, 10, 11, 12, 13, 14, 15, 16)},
    "nemo": {f"nemo{name}0" for name in ("EB", "IC", "KD", "KS", "MK", "MP", "SM", "TP", "WR")},
    "mini": {f"mini{n:02}" for n in range(1, 9)},
    "casia": {f"casia{name}" for name in ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang")},
    "cremad": {f"cremad{n}" for n in range(1001, 1092)},
    "emovo": {f"emovo{sex}{n}" for sex in "fm" for n in (1, 2, 3)},
    "esd": {f"esd{n:04}" for n in range(1, 21)},
    "iemocap": {f"iemocapSes0{n}{sex}" for n in range(1, 6) for sex in "FM"},
    "jl_corpus": {f"jl{sex}{n}" for sex in ("female", "male") for n in (1, 2)},
    "meld": {f"meld{name}" for name in ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")},
    "savee": {f"savee{name}" for name in ("DC", "JE", "JK", "KL")},
    "urdu": {*(f"urduSF{n}" for n in range(1, 12)), *(f"urduSM{n}" for n in (*range(1, 8), *range(17, 28)))},
}
SPEAKERS["bundled"] = SPEAKERS["ravdess"] | SPEAKERS["emodb"] | SPEAKERS["nemo"]
MEN = {
    "meldChandler", "meldJoey", "meldRoss", *(f"emodb{n:02}" for n in (3, 10, 11, 12, 15)),
    *(f"nemo{name}0" for name in ("KS", "MP", "SM", "TP", "WR")),
}
SPLITS = [*sorted(RECIPES.glob("*/conf/splits/*.yaml")), RECIPES / "mini/conf/split.yaml"]
CROSS_VALIDATION = SPLITS[:-1]


def corpus_of(path):
    return path.relative_to(RECIPES).parts[0]


def folds_of(name):
    """((test, valid), ...)"""
    return splits.read(RECIPES / f"{name}.yaml").folds


def is_man(speaker):
    """By its number: odd in RAVDESS and in mini."""
    if speaker in SEXES:
        return SEXES[speaker] == "m"
    if speaker.startswith("iemocap"):
        return speaker.endswith("M")
    return speaker in MEN if speaker.startswith(("emodb", "nemo", "meld")) else int(speaker[-2:]) % 2 == 1


@pytest.mark.parametrize("path", SPLITS, ids=lambda path: path.stem)
def test_no_fold_has_a_speaker_in_two_parts_and_all_are_of_the_corpus(path):
    for test, valid in splits.read(path).folds:
        train = SPEAKERS[corpus_of(path)] - set(test) - set(valid)
        assert not set(test) & set(valid) and {*test, *valid} <= SPEAKERS[corpus_of(path)]
        assert len(train) + len(test) + len(valid) == len(SPEAKERS[corpus_of(path)])
        assert len(train) > len(test) or path.stem in ("corpora", "three")   # a whole corpus; three equal parts


@pytest.mark.parametrize("path", CROSS_VALIDATION, ids=lambda path: path.stem)
def test_every_speaker_tests_in_exactly_one_fold(path):
    tested = Counter(speaker for test, _ in splits.read(path).folds for speaker in test)
    assert tested == Counter(SPEAKERS[corpus_of(path)])


@pytest.mark.parametrize("path", CROSS_VALIDATION, ids=lambda path: path.stem)
def test_a_split_is_called_as_its_file_and_says_where_it_is_from(path):
    content = yaml.safe_load(path.read_text())
    assert content["name"] == path.stem and content["source"] and content["note"]


ONE_VALIDATES = ("loso10", "loso6", "loso4")   # few speakers: more of them train
BALANCED = [path for path in SPLITS if path.stem not in (*ONE_VALIDATES, "three")]


@pytest.mark.parametrize("path", BALANCED, ids=lambda path: f"{corpus_of(path)}-{path.stem}")
def test_both_sexes_validate_and_in_one_corpus_one_of_each(path):
    for _, valid in splits.read(path).folds:
        assert {is_man(speaker) for speaker in valid} == {False, True}
        assert len(valid) == (4 if corpus_of(path) in ("bundled", "esd") else 2)


def test_where_speakers_are_few_the_next_one_validates():
    for path in SPLITS:
        if path.stem in ONE_VALIDATES:
            folds = splits.read(path).folds
            assert [valid for _, valid in folds] == [test for test, _ in (*folds[1:], folds[0])]


def test_esd_tests_both_sexes_of_both_languages_and_cremad_its_actors_in_turn():
    for test, valid in folds_of("esd/conf/splits/five"):
        for speakers in (test, valid):
            kinds = {(int(speaker[-4:]) > 10, is_man(speaker)) for speaker in speakers}
            assert len(speakers) == len(kinds) == 4
    for man in (True, False):
        actors = sorted(speaker for speaker in SPEAKERS["cremad"] if is_man(speaker) == man)
        for k, (test, _) in enumerate(folds_of("cremad/conf/splits/actors5")):
            assert [speaker for speaker in sorted(test) if is_man(speaker) == man] == actors[k::5]


def test_the_published_splits_have_their_published_sizes():
    files = [60 * len(test) for test, _ in folds_of("ravdess/conf/splits/luna5")]
    assert files == [300, 300, 300, 300, 240]
    assert [len(test) for test, _ in folds_of("ravdess/conf/splits/emobox6")] == [4] * 6
    assert [(len(test), len(valid)) for test, valid in folds_of("nemo/conf/splits/loso9")] == [(1, 2)] * 9
    assert [(len(test), len(valid)) for test, valid in folds_of("emodb/conf/splits/loso10")] == [(1, 1)] * 10


def test_emobox_validates_on_actors_that_test_in_a_later_fold():
    folds = folds_of("ravdess/conf/splits/emobox6")
    for k, (_, valid) in enumerate(folds):
        for man in (True, False):
            later = ([a for a in folds[(k + step) % 6][0] if is_man(a) == man] for step in range(1, 6))
            assert min(next(filter(None, later))) in valid


def test_nemo_validates_on_the_next_man_and_the_next_woman():
    order = sorted(SPEAKERS["nemo"])
    for k, ((tested,), valid) in enumerate(folds_of("nemo/conf/splits/loso9")):
        later = [*order[k + 1:], *order[:k]]
        assert tested == order[k]
        assert set(valid) == {next(s for s in later if is_man(s)), next(s for s in later if not is_man(s))}
