"""How much one server is asked at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_bytes: int = 200_000_000   # of a request
    max_seconds: float = 5400.0   # of audio in a request, as decoded; channels apart count each
    max_requests: int = 64   # sending, waiting and being answered
    upload_seconds: float = 600.0   # for a request to arrive: who sends a byte a minute holds a place

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name}={value} must be above 0: else every request is refused. Raise it.")
