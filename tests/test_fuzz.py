"""Whatever a file holds, it is read, or refused by name as documented. tests/fuzz.py goes on for as long as wanted."""

import itertools
import json
import signal
import struct

import badfiles
import fuzz
import pytest
import yaml
from badfiles import chunk, form, pcm, riff
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from emotion import checkpoint, labels

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="nothing else ends what hangs")
NUMBERS = st.one_of(st.sampled_from(fuzz.NUMBERS).map(lambda n: n % 2**32), st.integers(0, 2**32 - 1))
SMALL = st.one_of(st.sampled_from([0, 1, 2, 8, 16, 24, 32, 64, 255, 65_535]), st.integers(0, 65_535))
ODD = [word.decode("utf-8", "surrogateescape") for word in fuzz.WORDS]
WORDS = st.one_of(st.sampled_from(ODD), st.text(max_size=4))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**6), st.floats(), st.sampled_from([10**30, "", "serial"]), WORDS
)
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
                     max_leaves=6)


def bounded(count: int):
    return settings(max_examples=count, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def slow():
    def fail(*_):
        raise fuzz.TooSlow

    before = signal.signal(signal.SIGALRM, fail)
    yield
    signal.signal(signal.SIGALRM, before)


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# Any damage

@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_damaged_files_are_read_or_refused_by_name(name, tmp_path):
    if name == "media":
        pytest.importorskip("av")
    seeds = fuzz.TARGETS[name].seeds()
    for files in itertools.islice(fuzz.inputs(name, seeds, seed=0), 60 if name == "datadir" else 200):
        told = fuzz.check(fuzz.TARGETS[name], files, tmp_path / "case")
        assert told is None, told


def test_what_is_not_documented_is_told(tmp_path):
    def fail(error):
        def read(folder):
            raise error(folder / "a.txt")
        return fuzz.check(fuzz.Target(list, read), {"a.txt": b""}, tmp_path / "case")

    assert fail(ValueError) is None and fail(FileNotFoundError) is None
    assert "KeyError" in fail(KeyError) and "MemoryError" in fail(MemoryError)
    assert "does not name the file" in fuzz.check(
        fuzz.Target(list, lambda folder: int("a.txt")), {"a.txt": b""}, tmp_path / "case")


# Well-formed, and yet wrong

TAGS = st.sampled_from([1, 2, 3, 6, 7, 0x11, 0x31, 0x55, 0xFFFE])
NAMES = st.sampled_from([b"LIST", b"fact", b"cue ", b"smpl", b"bext", b"ds64", b"PEAK", b"junk"])
FORMS = st.builds(form, TAGS, SMALL, NUMBERS, SMALL, SMALL, st.binary(max_size=24))
SAMPLES = st.builds(
    chunk, st.just(b"data"), st.integers(0, 2_000).map(lambda count: pcm()[:count]), st.none() | NUMBERS, st.booleans()
)
OTHERS = st.builds(chunk, NAMES, st.binary(max_size=60), st.none() | NUMBERS)


@bounded(120)
@given(st.tuples(FORMS, SAMPLES, OTHERS).flatmap(st.permutations), st.none() | NUMBERS,
       st.sampled_from([b"RIFF", b"RF64", b"RIFX"]))
def test_chunks_of_a_wav_of_any_size_in_any_order(tmp_path, chunks, size, name):
    content = riff(*chunks, size=size, name=name)
    assert fuzz.check(fuzz.TARGETS["audio"], {"a.wav": content}, tmp_path / "case") is None


SECTIONS = st.sampled_from(["scheme", "model", "frontend", "augment", "fit", "extends", "fit.max_epochs"])
OPTIONS = st.sampled_from(["name", "max_epochs", "batch_size", "num_bands", "pitch", "speeds", "balance"])


@bounded(120)
@given(st.dictionaries(SECTIONS | WORDS, PLAIN | st.dictionaries(OPTIONS, PLAIN, max_size=3), max_size=4))
def test_settings_of_any_shape(tmp_path, plain):
    content = encode(yaml.safe_dump(plain, allow_unicode=True))
    assert fuzz.check(fuzz.TARGETS["config"], {"a.yaml": content}, tmp_path / "case") is None


@bounded(120)
@given(st.fixed_dictionaries({"name": PLAIN, "source": PLAIN, "folds": PLAIN | st.lists(
    st.fixed_dictionaries({"test": PLAIN, "valid": PLAIN}), max_size=2)}))
def test_splits_of_any_shape(tmp_path, plain):
    content = encode(yaml.safe_dump(plain, allow_unicode=True))
    assert fuzz.check(fuzz.TARGETS["splits"], {"a.yaml": content}, tmp_path / "case") is None


@pytest.fixture(scope="module")
def model() -> tuple[dict, dict, bytes]:
    """The header of a model file, the description of the model in it, and its weights."""
    content, = fuzz.TARGETS["checkpoint"].seeds()[0].values()
    length, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["emotion"]), content[8 + length :]


@bounded(200)
@given(st.data())
def test_a_model_file_whose_description_says_something_else(tmp_path, model, data):
    """By damage, or by somebody who writes a fingerprint that fits."""
    header, described, weights = model
    described, at, path = json.loads(json.dumps(described)), None, []
    inner, forged = described, data.draw(st.booleans())
    while isinstance(inner, (dict, list)) and inner and (not path or data.draw(st.booleans())):
        key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        at, inner, path = inner, inner[key], [*path, key]
    huge = st.sampled_from([10**5, 10**9, 2**40, [10**5] * 2, [[10**6, 10**6]]])
    at[path[-1]] = data.draw(PLAIN if forged else PLAIN | huge)
    if forged and {"model", "frontend", "scheme", "calibration"} <= described.keys():
        tensors = load(struct.pack("<Q", len(plain := json.dumps(header).encode())) + plain + weights)
        described["fingerprint"] = checkpoint._fingerprint(tensors, described)
    header = json.dumps({**header, "__metadata__": {"emotion": json.dumps(described)}}).encode()
    content = struct.pack("<Q", len(header)) + header + weights
    assert fuzz.check(fuzz.TARGETS["checkpoint"], {"a.safetensors": content}, tmp_path / "case") is None


FIELD = WORDS | st.sampled_from([
    "SPEAKER", "a", "1", "0.0", "0.5", "2.5", "<NA>", "anger", "a-1", "a%20b", "path", "start", "end", "duration",
    "speaker", "file", "label", "p_anger", "-1", "nan",
])


@bounded(150)
@given(st.sampled_from([("a.rttm", " "), ("a.csv", ","), ("segments", " "), ("a.txt", "\t")]),
       st.lists(st.lists(FIELD, min_size=1, max_size=10), max_size=4))
def test_rows_of_any_fields(tmp_path, kind, rows):
    name, between = kind
    content = encode("".join(between.join(row) + "\n" for row in rows))
    assert fuzz.check(fuzz.TARGETS["formats"], {name: content}, tmp_path / "case") is None


PART = {"start_seconds": 0.0, "end_seconds": 1.0, "label": "anger", "confidence": 0.5, "probabilities": {"anger": 1.0},
        "speaker": None}
LINE = {"path": "a", "label": "anger", "probabilities": {"anger": 0.5, "fear": 0.5}, "segments": [PART],
        "duration_seconds": 1.0, "flags": [], "channel": None}


@bounded(150)
@given(st.dictionaries(st.sampled_from(sorted(LINE)), PLAIN, max_size=2),
       st.dictionaries(st.sampled_from(sorted(PART)), PLAIN, max_size=2))
def test_lines_of_json_of_any_shape(tmp_path, told, part):
    content = encode(json.dumps({**LINE, "segments": [{**PART, **part}], **told}) + "\n")
    assert fuzz.check(fuzz.TARGETS["formats"], {"a.jsonl": content}, tmp_path / "case") is None


TABLES = st.sampled_from(["wav.scp", "utt2spk", "utt2emotion", "segments", "spk2utt", "utt2dur", "text"])
CELL = WORDS | st.sampled_from(["a", "a-1", "a-2", "b-1", "0", "1.5", *labels.EMOTIONS[:2]])


@bounded(60)
@given(st.dictionaries(TABLES, st.lists(st.lists(CELL, max_size=4), max_size=4)))
def test_tables_of_any_words(tmp_path, tables):
    files = {name: encode("".join(" ".join(row) + "\n" for row in rows)) for name, rows in tables.items()}
    assert fuzz.check(fuzz.TARGETS["datadir"], files, tmp_path / "case") is None


def test_every_bad_recording_is_a_case_of_the_contract(tmp_path):
    for case in badfiles.CASES:
        if isinstance(case.make, bytes) and not case.file.endswith((".mp4", ".m4a", ".webm")):
            told = fuzz.check(fuzz.TARGETS["audio"], {case.file: case.make}, tmp_path / "case")
            assert told is None, told
