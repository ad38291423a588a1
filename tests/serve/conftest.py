"""What the tests of the server share: a small model and a server of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from serving import record, running

from emotion import checkpoint, labels
from emotion.analyzer import Analyzer
from emotion.features import FrontendConfig


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    torch.manual_seed(1)
    tiny = {"channels": [4, 8], "pools": [[2, 2], [2, 2]], "stem_stride": [2, 2], "features": 8, "lstm_width": 8}
    return Analyzer(checkpoint.build("serial", tiny, FrontendConfig(num_bands=20), labels.scheme("mini5")), "cpu")


@pytest.fixture(scope="module")
def server(analyzer):
    with running(analyzer) as client:
        yield client


@pytest.fixture
def call(voice, tmp_path) -> Path:
    """Two persons, one in each channel: the second speaks later."""
    return record(tmp_path / "call.wav", np.stack([np.pad(voice, (0, 8000)), np.pad(voice[::-1], (8000, 0))], axis=1))
