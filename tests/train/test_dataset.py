from collections import Counter

import numpy as np
import pytest
import soundfile
import torch

from emotion import audio, labels
from emotion.audio import AudioError
from emotion.datadir import DataError, Utterance
from emotion.labels import LabelError
from emotion.train import dataset
from emotion.train.dataset import Collate, LengthBuckets, Recordings, some_of_each

RATE = 16_000
SCHEME = labels.scheme("emodb4")
BYTES = 4   # of a sample


@pytest.fixture
def utterances(tmp_path):
    """Seven noises of different lengths by two speakers."""
    rng = np.random.default_rng(1)
    emotions = ["anger", "anger", "happiness", "sadness", "anger", "neutral", "sadness"]
    found = []
    for i, (emotion, num_samples) in enumerate(zip(emotions, [700, 300, 500, 100, 600, 200, 400])):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, rng.uniform(-1, 1, num_samples), RATE, "FLOAT")
        found.append(Utterance(f"s{i % 2}-{i}", f"s{i % 2}", str(path), emotion))
    return found


def recordings(utterances, memory_gigabytes=1.0):
    return Recordings(utterances, SCHEME, RATE, memory_gigabytes)


def lengths(count, seed=1):
    return np.exp(np.random.default_rng(seed).uniform(np.log(RATE), np.log(8 * RATE), count)).astype(int)


def epoch(buckets, number):
    buckets.set_epoch(number)
    return list(buckets)


def padding(batches, num_samples):
    """Share of a batch that is padding."""
    taken = sum(len(batch) * num_samples[batch].max() for batch in batches)
    return 1 - num_samples.sum() / taken


# Buckets

@pytest.mark.parametrize("batch_size", [2, 3, 4, 16])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 17, 33, 100])
def test_an_epoch_holds_every_utterance_once_and_no_batch_a_single_one(count, batch_size):
    buckets = LengthBuckets(lengths(count), batch_size, seed=1)
    batches = epoch(buckets, 0)
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert len(batches) == len(buckets) and min(map(len, batches)) >= 2
    assert max(map(len, batches)) <= max(batch_size, 3)   # three where the third would else be alone


def test_batches_hold_little_padding():
    num_samples = lengths(1000)
    order = np.random.default_rng(1).permutation(1000)
    unsorted = padding([order[i:i + 16] for i in range(0, 1000, 16)], num_samples)
    assert unsorted > 0.5 and padding(epoch(LengthBuckets(num_samples, 16, 1), 0), num_samples) < 0.15


def test_order_and_company_differ_by_epoch_and_seed():
    num_samples = lengths(100)
    first = epoch(LengthBuckets(num_samples, 8, seed=1), 0)
    for seed, number in ((1, 1), (2, 0)):
        other = epoch(LengthBuckets(num_samples, 8, seed), number)
        assert first != other
        assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in other}


def test_the_order_follows_from_seed_and_epoch_alone():
    disturbed, fresh = (LengthBuckets(lengths(100), 8, seed=3) for _ in range(2))
    for number in range(5):
        torch.manual_seed(number)
        np.random.seed(number)   # noqa: NPY002
        epoch(disturbed, number)
    assert epoch(disturbed, 7) == epoch(fresh, 7)


@pytest.mark.parametrize("processes", [2, 3])
def test_the_shares_of_a_batch_are_together_the_batch_that_one_process_takes(processes):
    num_samples = lengths(50)
    whole = epoch(LengthBuckets(num_samples, 8, seed=1), 3)
    shares = [epoch(LengthBuckets(num_samples, 8, 1, rank=r, processes=processes), 3) for r in range(processes)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(sum(parts, [])) == sorted(batch)
        assert min(map(len, parts)) >= 2 and max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_epoch_takes_at_most_so_many_of_a_speaker_and_others_in_the_next():
    speakers = ["a"] * 40 + ["b"] * 10 + ["c"] * 3
    buckets = LengthBuckets(lengths(53), 4, seed=1, draw=some_of_each(speakers, 10))
    first, second = (sorted(i for batch in epoch(buckets, number) for i in batch) for number in (0, 1))
    assert Counter(speakers[i] for i in first) == Counter(speakers[i] for i in second) == {"a": 10, "b": 10, "c": 3}
    assert len(set(first)) == 23 and first != second and len(buckets) == 6


def test_counts_of_an_epoch_are_those_of_the_speakers_who_take_part(utterances):
    recorded = recordings(utterances)
    assert recorded.taking_part(0).tolist() == [1] * 7
    most = recorded.taking_part(1)
    for speaker in recorded.speakers:
        assert most[[u.speaker == speaker for u in utterances]].sum() == pytest.approx(1)
    assert recorded.class_counts(1).sum() == pytest.approx(len(recorded.speakers))


# Batches

def test_a_batch_holds_waveforms_lengths_targets_and_positions(utterances):
    recorded = recordings(utterances)
    batch, = recorded.in_order(batch_size=7)
    assert batch.num_samples.tolist() == [100, 200, 300, 400, 500, 600, 700]
    assert batch.positions.tolist() == [3, 5, 1, 6, 2, 4, 0]
    assert [SCHEME.classes[i] for i in batch.targets] == [utterances[i].emotion for i in batch.positions]
    for row, length, position in zip(batch.waveforms, batch.num_samples, batch.positions):
        assert np.array_equal(row[:length], audio.read(utterances[position].wav)) and not row[length:].any()


def test_long_utterances_are_heard_few_at_a_time(utterances, monkeypatch):
    monkeypatch.setattr(dataset, "IN_ORDER_SECONDS", 1200 / recordings(utterances).sample_rate)   # 100 to 700 samples
    batches = list(recordings(utterances).in_order(batch_size=4))
    assert [batch.num_samples.tolist() for batch in batches] == [
        [100, 200, 300], [400, 500], [600], [700]]


def test_speakers_and_classes_are_counted(utterances):
    recorded = recordings(utterances)
    assert recorded.speakers == ("s0", "s1") and len(recorded) == 7
    assert recorded.class_counts().tolist() == [3, 1, 1, 2]   # anger, happiness, neutral, sadness
    assert recordings(utterances[:2]).class_counts().tolist() == [2, 0, 0, 0]


def test_in_order_every_utterance_comes_once_from_short_to_long(utterances):
    batches = list(recordings(utterances).in_order(batch_size=3))
    assert [len(batch.positions) for batch in batches] == [3, 3, 1]
    assert torch.cat([batch.num_samples for batch in batches]).tolist() == [100, 200, 300, 400, 500, 600, 700]


@pytest.mark.parametrize("processes, batch_size", [(1, 3), (2, 3), (2, 7), (3, 2), (7, 3)])
def test_in_order_each_utterance_comes_to_one_process_and_no_process_is_left_out(utterances, processes, batch_size):
    recorded = recordings(utterances)
    shares = [list(recorded.in_order(batch_size, rank, processes)) for rank in range(processes)]
    assert all(shares) and max(len(batch.positions) for share in shares for batch in share) <= batch_size
    assert sorted(int(i) for share in shares for batch in share for i in batch.positions) == list(range(7))


def test_a_span_of_a_recording_is_an_utterance(utterances):
    span = Utterance("s0-x", "s0", utterances[0].wav, "anger", 100 / RATE, 350 / RATE)
    assert np.array_equal(recordings([span]).waveform(0), audio.read(utterances[0].wav)[100:350])


def test_a_long_utterance_is_cropped_to_a_stretch_that_changes():
    ramp = torch.arange(1000.0)
    torch.manual_seed(1)
    starts = set()
    for _ in range(200):
        batch = Collate(longest=990)([(ramp, 0, 0), (ramp[:50], 1, 1)])
        assert batch.num_samples.tolist() == [990, 50] and batch.waveforms.shape == (2, 990)
        assert (batch.waveforms[0].diff() == 1).all()   # one stretch
        assert torch.equal(batch.waveforms[1, :50], ramp[:50])   # a short one stays whole
        starts.add(int(batch.waveforms[0, 0]))
    assert starts == set(range(11))   # the first and the last place too


def test_validation_is_never_cropped(utterances):
    assert max(batch.num_samples.max() for batch in recordings(utterances).in_order(4)) == 700


def test_a_pass_over_the_data_leaves_the_random_state_alone(utterances):
    recorded, before = recordings(utterances), torch.get_rng_state()
    list(recorded.batches(LengthBuckets(recorded.num_samples, 2, seed=1)))
    list(recorded.in_order(2))
    assert torch.equal(torch.get_rng_state(), before)   # else a resumed epoch would draw other augmentation


# Memory

@pytest.fixture
def reads(monkeypatch):
    """Paths in the order in which files are read."""
    paths, read = [], audio.read
    monkeypatch.setattr(audio, "read", lambda path, *args: paths.append(path) or read(path, *args))
    return paths


@pytest.mark.parametrize("room, again", [
    (2800, []), (2799, [6]), (1900, [4, 6]), (1000, [2, 3, 4, 5, 6]), (0, [0, 1, 2, 3, 4, 5, 6]),
])
def test_what_does_not_fit_into_memory_is_read_anew(utterances, reads, room, again):
    recorded = recordings(utterances, room * BYTES / 2**30)
    assert reads == [utterance.wav for utterance in utterances]   # once, to know the lengths
    assert recorded.kept_gigabytes * 2**30 <= room * BYTES
    del reads[:]
    for position in range(7):
        recorded.waveform(position)
    assert reads == [utterances[position].wav for position in again]


def test_batches_are_the_same_with_and_without_memory(utterances):
    kept, anew = (recordings(utterances, room).batches(LengthBuckets(range(7), 3, seed=1)) for room in (1, 0))
    for a, b in zip(kept, anew, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b))


# What teaches nothing

@pytest.fixture
def worthless(tmp_path):
    """Utterances of 700 samples that teach nothing, by the reason."""
    bit, noise = 1 / 2**15, np.random.default_rng(2).uniform(-1, 1, 700)
    found = {}
    for name, waveform, reason in (
        ("nan", np.where(np.arange(700) == 350, np.nan, noise), "with NaN or infinite samples"),
        ("inf", np.where(np.arange(700) == 0, np.inf, noise), "with NaN or infinite samples"),
        ("empty", np.empty(0), "shorter than 0.00625 s"),
        ("zeros", np.zeros(700), "without sound"), ("constant", np.full(700, 0.25), "without sound"),
        ("last-bit", bit / 2 * np.sign(noise), "without sound"), ("short", noise[:99], "shorter than 0.00625 s"),
    ):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, waveform, RATE, "FLOAT")
        found.setdefault(reason, []).append(Utterance(f"s0-{name}", "s0", str(path), "anger"))
    return found


@pytest.mark.parametrize("room", [1.0, 0.0])
def test_what_teaches_nothing_is_left_out_named_and_counted(utterances, worthless, room):
    mixed = [utterances[0], *sum(worthless.values(), []), *utterances[1:]]
    recorded = Recordings(mixed, SCHEME, RATE, room, shortest_seconds=100 / RATE)   # the shortest good one has 100
    assert recorded.left_out == {reason: [u.id for u in found] for reason, found in worthless.items()}
    assert recorded.told_left_out == (
        "2 shorter than 0.00625 s (s0-empty, s0-short); 2 with NaN or infinite samples (s0-inf, s0-nan); "
        "3 without sound (s0-constant, s0-last-bit, s0-zeros)")
    plain = recordings(utterances)
    assert plain.left_out == {} and plain.told_left_out == ""
    assert (recorded.utterances, recorded.targets, recorded.num_samples) == (
        plain.utterances, plain.targets, plain.num_samples)
    for position in range(7):
        assert np.array_equal(recorded.waveform(position), plain.waveform(position))


def test_samples_that_nobody_scaled_are_refused_as_there_is_a_remedy(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(700, 9_000.0), RATE, "FLOAT")
    with pytest.raises(AudioError, match="full scale is 1. Divide by"):
        recordings([Utterance("s0-0", "s0", str(tmp_path / "a.wav"), "anger")])


def test_faint_speech_is_speech(tmp_path):
    """The faintest utterance of RAVDESS has a power of -63 dB of full scale."""
    soundfile.write(tmp_path / "faint.wav", 10 ** (-63 / 20) * np.random.default_rng(1).normal(size=RATE), RATE)
    assert not recordings([Utterance("s0-0", "s0", str(tmp_path / "faint.wav"), "anger")]).left_out


# Refusal

def test_a_directory_of_which_nothing_is_left_is_refused(worthless):
    with pytest.raises(DataError, match="no utterance is left to learn from: 2 with NaN.*Look at the recordings"):
        recordings(worthless["with NaN or infinite samples"])


def test_an_emotion_outside_the_scheme_is_refused(utterances):
    boredom = Utterance("s0-9", "s0", utterances[0].wav, "boredom")
    with pytest.raises(LabelError, match="'boredom' has no class in scheme 'emodb4'.*emotion data subset"):
        recordings([*utterances, boredom])


def test_shares_of_one_utterance_are_refused(utterances):
    with pytest.raises(ValueError, match="batches of 7 utterances for 4 processes.*Raise fit.batch_size=16"):
        LengthBuckets(lengths(7), 16, seed=1, processes=4)
    LengthBuckets(lengths(7), 16, seed=1, processes=3)
    with pytest.raises(ValueError, match="7 utterances for 8 processes.*Train on fewer devices"):
        recordings(utterances).in_order(3, processes=8)


def test_a_file_that_cannot_be_read_is_named(utterances, tmp_path):
    with pytest.raises(AudioError, match="gone.wav"):
        recordings([*utterances, Utterance("s0-9", "s0", str(tmp_path / "gone.wav"), "anger")])
