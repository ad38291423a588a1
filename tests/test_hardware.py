import os
import platform
import subprocess
import sys

import pytest
import torch

from emotion import checkpoint
from emotion.analyzer import Analyzer
from emotion.hardware import choose_device, has_bfloat16, sent


@pytest.fixture
def machine(monkeypatch):
    """Pretends that the machine has so many CUDA devices, and MPS or not."""
    def pretend(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    return pretend


@pytest.mark.parametrize("cuda, mps, chosen", [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")])
def test_auto_takes_cuda_then_mps_then_the_processor(cuda, mps, chosen, machine):
    machine(cuda, mps)
    assert choose_device().type == chosen


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1", "mps"])
def test_a_device_that_is_there_is_taken(name, machine):
    machine(cuda=2, mps=True)
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", "mps:0", "cuda:1"])
def test_a_device_of_pytorch_is_taken_as_it_is(device, machine):
    machine(cuda=2, mps=True)
    assert choose_device(torch.device(device)).type == torch.device(device).type


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_refused(name, machine):
    machine()
    with pytest.raises(ValueError, match=f"'{name}' is not available.*Choose auto or cpu"):
        choose_device(name)


def test_a_gpu_beyond_the_last_is_refused(machine):
    machine(cuda=2)
    with pytest.raises(ValueError, match="'cuda:2' is not available"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "CUDA", "", "cuda:", "cuda:x", "cuda:-1", "cuda:0:1", "auto:1"])
def test_an_unknown_device_is_refused_with_what_there_is(name, machine):
    machine(cuda=4, mps=True)
    with pytest.raises(ValueError, match="there are auto, cpu, cuda, mps"):
        choose_device(name)


@pytest.mark.parametrize("capabilities, expected", [
    ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({}, False),
    ({"avx2": True, "avx512_bf16": False}, False),
])
def test_a_processor_has_bfloat16_where_it_multiplies_it_in_hardware(capabilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bfloat16(torch.device("cpu")) is expected


@pytest.mark.parametrize("expected", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_does_not_have_it(expected, monkeypatch):
    def supported(including_emulation):
        return expected or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert has_bfloat16(torch.device("cuda")) is expected


def test_mps_is_left_in_float32():
    assert has_bfloat16(torch.device("mps")) is False


def test_this_machine_says_what_it_has():
    assert has_bfloat16(torch.device("cpu")) in (True, False) and choose_device("cpu").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_gpu_answers_as_the_processor_does(tiny, rng, tmp_path):
    checkpoint.write(tiny, tmp_path / "model.safetensors")
    waveform = rng.normal(0, 0.1, 16_000).astype("float32")
    slow, fast = (Analyzer(tmp_path, name).analyze(waveform, sample_rate=16_000) for name in ("cpu", "cuda"))
    assert fast.probabilities == pytest.approx(slow.probabilities, abs=1e-3)
    assert fast.step_probabilities == pytest.approx(slow.step_probabilities, abs=1e-3)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize("most", ["None", "2**26"])
def test_memory_that_was_freed_is_not_fetched_from_the_system_again(most):
    """Page faults of five arrays of 8 MB at once, ten times, in a process of their own."""
    count = """
import resource
import numpy as np
from emotion.hardware import keep_freed_memory
def work():
    arrays = [np.ones(2_000_000, np.float32) for _ in range(5)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    kept, asked = (
        int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                           env=environment).stdout)
        for program in (count.replace("work()\nbefore", f"keep_freed_memory({most})\nwork()\nbefore"), count)
    )
    assert kept < 1000 < asked


@pytest.mark.parametrize("device, waits", [("cuda", False), ("mps", True), ("cpu", True)])
def test_the_processor_waits_for_an_apple_gpu_which_could_read_what_was_freed(device, waits):
    class Values:
        def to(self, place, non_blocking):
            return place.type, not non_blocking

    assert sent(Values(), torch.device(device)) == (device, waits)
