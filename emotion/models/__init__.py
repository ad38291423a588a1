"""Every network, by name. A model is built as MODELS[name](config) and called as

    forward(mel, prosody, lengths) -> Output

mel (batch, channels, frames, bands) and lengths (batch,) frames come from the Frontend; prosody is None where the front
end computes none, and a model that needs none ignores it.
"""

from ..settings import from_plain
from .output import Output
from .serial import Serial

MODELS = {"serial": Serial}

__all__ = ["MODELS", "Output", "build"]


def build(name: str, num_channels: int, num_bands: int, num_classes: int, options: dict):
    """The model of that name on input of that size. Raises ValueError that names what there is."""
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {', '.join(MODELS)}. Set model.name to one of them.")
    return MODELS[name](num_channels, num_bands, num_classes, from_plain(MODELS[name].Config, options, "model"))
