import json
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion import checkpoint, labels
from emotion.analyzer import Analyzer
from emotion.calibration import Calibration
from emotion.checkpoint import FILE_NAME, FORMAT, CheckpointError
from emotion.features import FrontendConfig
from emotion.models import MODELS

CNN, LSTM = {"channels": [4], "pools": [[2, 2]], "features": 4}, {"lstm_width": 4}
SMALL = {"serial": {**CNN, **LSTM}, "lstm": LSTM, "parallel": {**CNN, **LSTM}, "conv3d": {"channels": [4], **LSTM}}


def built(name="serial", **further):
    torch.manual_seed(1)
    frontend = FrontendConfig(num_bands=8, prosody=MODELS[name].uses_prosody)
    return checkpoint.build(name, SMALL[name], frontend, labels.scheme("mini5"), **further)


def written(model, folder):
    path = folder / FILE_NAME
    checkpoint.write(model, path)
    return path


def rewritten(path, **changes):
    """The file with other entries in its header and the same tensors."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["emotion"])
    save_file(load_file(path), path, {"emotion": json.dumps({**header, **changes})})
    return path


def answer(model):
    waveforms = 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(2))
    model.model.eval()
    return model.model(*model.frontend(waveforms, torch.tensor([16_000, 7_000, 1])))


# Round trip

@pytest.mark.parametrize("name", MODELS)
def test_what_is_read_answers_exactly_as_what_was_written(name, tmp_path):
    model = built(name)
    back = checkpoint.read(written(model, tmp_path))
    for before, after in zip(answer(model)[:4], answer(back)[:4]):
        assert torch.equal(before, after)


def test_everything_travels(tmp_path):
    card = {"data": "synthetic", "uar": 0.5, "ünïcode": ["ö", None, {"deep": 1}]}
    model = built(calibration=Calibration(utterance=1.7, step=0.6), train_speakers=("a1", "b2"),
                  valid_speakers=("c3",), card=card)
    back = checkpoint.read(written(model, tmp_path))
    for part in ("name", "scheme", "calibration", "train_speakers", "valid_speakers", "card", "labels"):
        assert getattr(back, part) == getattr(model, part), part
    assert back.frontend.config == model.frontend.config and back.model.config == model.model.config


def test_the_fitted_normalisation_and_the_batch_norms_travel(tmp_path):
    frontend = FrontendConfig(num_bands=8, normalisation="global")
    model = replace(built(), frontend=checkpoint.Frontend(frontend))
    model.frontend.fit([(torch.randn(2, 8_000), torch.tensor([8_000, 3_000]))])
    model.model.train()
    model.model(torch.randn(2, 3, 50, 8), None, torch.tensor([50, 30]))
    back = checkpoint.read(written(model, tmp_path))
    assert torch.equal(back.frontend.mean, model.frontend.mean) and back.frontend.mean.any()
    assert torch.equal(back.model.cnn.stem.norm.running_mean, model.model.cnn.stem.norm.running_mean)


def test_whole_numbers_in_the_place_of_floats_are_the_same_model(tmp_path):
    model = replace(built(), calibration=Calibration(utterance=2, step=1))
    model = replace(model, frontend=checkpoint.Frontend(FrontendConfig(num_bands=8, low_hz=0, high_hz=8000)))
    assert checkpoint.read(written(model, tmp_path)).fingerprint == model.fingerprint


def test_an_experiment_folder_stands_for_its_model(tmp_path):
    assert checkpoint.read(written(built(), tmp_path).parent).fingerprint == built().fingerprint


def test_what_is_read_is_ready_for_use(tmp_path):
    assert not checkpoint.read(written(built(), tmp_path)).model.training


def test_options_are_plain_and_complete():
    plain = checkpoint.options(built())
    assert plain["channels"] == [4] and plain["lstm_dropout"] == 0.5
    assert json.loads(json.dumps(plain)) == plain


def test_a_written_file_replaces_the_old_one_and_nothing_else_is_left(tmp_path):
    written(built(), tmp_path)
    path = written(built().with_calibration(Calibration(utterance=2.0)), tmp_path)
    assert checkpoint.read(path).calibration.utterance == 2.0
    assert os.listdir(tmp_path) == [FILE_NAME]


# Invariance

def test_the_fingerprint_changes_with_weights_and_calibration():
    other_weights = built()
    with torch.no_grad():
        other_weights.model.head.classifier.bias[0] += 1e-6
    calibrations = Calibration(utterance=1.01), Calibration(step=1.01), Calibration(unknown_below=0.1)
    others = [other_weights, *map(built().with_calibration, calibrations)]
    assert len({built().fingerprint, *(other.fingerprint for other in others)}) == 5


def test_the_fingerprint_changes_with_the_front_end_its_statistics_and_the_scheme():
    fitted = built()
    fitted.frontend.mean += 1
    floor = replace(built(), frontend=checkpoint.Frontend(FrontendConfig(num_bands=8, floor=1e-9)))
    mapping = {**labels.scheme("mini5").mapping, "calm": "neutral"}
    scheme = replace(built(), scheme=labels.Scheme("mini5", mapping))
    assert len({model.fingerprint for model in (built(), fitted, floor, scheme)}) == 4


def test_models_of_the_time_before_there_were_dimensions_keep_their_fingerprint():
    """Theirs is the sum over options that do not name any."""
    assert "dimensions" not in checkpoint.options(built())
    assert checkpoint.read(checkpoint.BUNDLED).fingerprint == "d32f79e481e7ef75"


def test_a_model_with_dimensions_travels_and_has_a_fingerprint_of_its_own(tmp_path):
    asked, other = (
        checkpoint.build("serial", {**SMALL["serial"], "dimensions": [name]}, FrontendConfig(), labels.scheme("mini5"))
        for name in ("arousal", "valence")
    )
    read = checkpoint.read(written(asked, tmp_path))
    assert read.dimensions == ("arousal",) and read.fingerprint == asked.fingerprint
    assert torch.equal(answer(read).heads["dimensions"], answer(asked).heads["dimensions"])
    other.model.load_state_dict(asked.model.state_dict())
    assert other.fingerprint != asked.fingerprint


def test_the_fingerprint_does_not_change_with_the_card_or_the_speakers():
    described = built(card={"note": "x"}, train_speakers=("a",), valid_speakers=("b",))
    assert described.fingerprint == built().fingerprint


def test_the_fingerprint_does_not_change_in_an_analyzer():
    model = built()
    assert Analyzer(model, "cpu").checkpoint.fingerprint == built().fingerprint


# Refusals

@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 0.3, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused(share, tmp_path):
    path = written(built(), tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(path)


def test_a_flipped_bit_in_the_header_is_refused_or_harmless(tmp_path, rng):
    model = built()
    path = written(model, tmp_path)
    raw = path.read_bytes()
    size = 8 + struct.unpack("<Q", raw[:8])[0]
    refused = 0
    for place in rng.integers(0, size, 100):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            assert checkpoint.read(path).fingerprint == model.fingerprint  # in a name of a speaker, say
        except CheckpointError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 70


def test_a_flipped_bit_in_the_weights_is_refused(tmp_path, rng):
    path = written(built(), tmp_path)
    raw = path.read_bytes()
    for place in rng.integers(8 + struct.unpack("<Q", raw[:8])[0], len(raw), 20):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.read(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "theirs.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="another program.*emotion train"):
        checkpoint.read(tmp_path / "theirs.safetensors")


def test_a_later_format_is_refused_with_what_to_install(tmp_path):
    path = rewritten(written(built(), tmp_path), format=FORMAT + 1)
    with pytest.raises(CheckpointError, match=f"format {FORMAT + 1}.* reads {FORMAT}. Install a newer"):
        checkpoint.read(path)


@pytest.mark.parametrize("changes", [
    {"model": {"name": "unheard", "options": {}}},
    {"model": {"name": "serial", "options": {"chanels": [4]}}},
    {"model": {"name": "serial", "options": {**SMALL["serial"], "lstm_width": 5}}},
    {"model": {"name": "serial", "options": {**SMALL["serial"], "lstm_layers": 2}}},
    {"model": []}, {"frontend": {"num_bands": "8"}}, {"frontend": {"num_bands": 64}},
    {"scheme": {"name": "mini5"}}, {"calibration": {"utterance": 0.0, "step": 1.0}}, {"calibration": None},
    {"train_speakers": None}, {"fingerprint": "0123456789abcdef"},
], ids=str)
def test_a_header_that_does_not_fit_is_refused(changes, tmp_path):
    path = rewritten(written(built(), tmp_path), **changes)
    with pytest.raises(CheckpointError, match="Copy or train it again"):
        checkpoint.read(path)


@pytest.mark.parametrize("save", [pickle.dumps, torch.save], ids=["pickle", "torch"])
def test_a_pickle_is_refused_and_never_run(save, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Trap())) if save is pickle.dumps else torch.save(Trap(), path)
    with pytest.raises(CheckpointError, match="no model file"):
        checkpoint.read(path)
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"RIFF" + bytes(1000), np.arange(999).tobytes()],
                         ids=["empty", "zeros", "wave", "numbers"])
def test_any_other_file_is_refused(content, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match="no model file|damaged"):
        checkpoint.read(tmp_path)


@pytest.mark.parametrize("name", ["", "absent.safetensors"])
def test_a_missing_model_says_what_to_give(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="whose training has finished"):
        checkpoint.read(tmp_path / name)


def test_a_card_that_cannot_be_written_leaves_the_old_file_alone(tmp_path):
    path = written(built(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        checkpoint.write(built(card={"model": object()}), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [FILE_NAME]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone_and_no_half_one(step, tmp_path, monkeypatch):
    path = written(built(), tmp_path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, step, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(built().with_calibration(Calibration(utterance=2.0)), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [FILE_NAME]


def test_a_damaged_size_is_told_before_it_asks_for_memory(tmp_path, monkeypatch):
    path = written(built(), tmp_path)
    described = json.loads(json.dumps(checkpoint._header(built())))
    described["model"]["options"]["lstm_width"] = 10**5   # 160 GB
    rewritten(path, model=described["model"])
    monkeypatch.setattr(checkpoint, "build", None)
    with pytest.raises(CheckpointError, match="is damaged: weights or settings are not what was written"):
        checkpoint.read(path)
