"""Which emotion is in speech, when, and how sure: `from emotion import Analyzer`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .analyzer import Analyzer
    from .timeline import Segment, Timeline

__version__ = "0.1.0"
__all__ = ["Analyzer", "Segment", "Timeline", "__version__"]

_HOMES = {"Analyzer": ".analyzer", "Segment": ".timeline", "Timeline": ".timeline"}


def __getattr__(name: str):
    """Each class is loaded when it is asked for, so that `emotion --help` answers at once."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
