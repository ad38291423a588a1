"""Every network, by name. A model is built as MODELS[name](inputs, num_classes, config) and called as

    forward(mel, prosody, lengths) -> Output

mel (batch, channels, frames, bands), prosody (batch, frames, contours) and lengths (batch,) frames come from the
Frontend; prosody is None where it computes none. `uses_prosody` tells whether a model needs it; its `reach` is what one
step sees of the input: field and hop in frames.
"""

from __future__ import annotations

from ..settings import from_plain
from .conv3d import Conv3d
from .lstm import LSTMAlone
from .parallel import Parallel
from .serial import Serial
from .signature import Inputs, Network, Output

MODELS: dict[str, type[Network]] = {"serial": Serial, "lstm": LSTMAlone, "parallel": Parallel, "conv3d": Conv3d}

__all__ = ["MODELS", "Inputs", "Network", "Output", "build"]


def build(name: str, inputs: Inputs, num_classes: int, options: dict) -> Network:
    """The model of that name on input of that size.

    Raises: ValueError that names what there is; for prosody that the model needs and the front end lacks, or computes
        for nothing.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}. Set model.name to one of them.")
    cls = MODELS[name]
    if cls.uses_prosody != bool(inputs.contours):
        needs = "needs prosody beside the mel" if cls.uses_prosody else "has no use for prosody"
        raise ValueError(f"model {name!r} {needs}. Set frontend.prosody: {str(cls.uses_prosody).lower()}.")
    return cls(inputs, num_classes, from_plain(cls.Config, options, "model"))
