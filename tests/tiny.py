"""An untrained model that answers at once, the same each time."""

import torch

from emotion import checkpoint, labels
from emotion.checkpoint import Checkpoint
from emotion.features import FrontendConfig

OPTIONS = {"channels": [4, 8], "pools": [[2, 2], [2, 2]], "stem_stride": [2, 2], "features": 8, "lstm_width": 8}


def tiny(scheme: labels.Scheme | str = "mini5", **options) -> Checkpoint:
    """The serial model with random weights."""
    torch.manual_seed(1)
    scheme = labels.scheme(scheme) if isinstance(scheme, str) else scheme
    return checkpoint.build("serial", {**OPTIONS, **options}, FrontendConfig(num_bands=20), scheme)
