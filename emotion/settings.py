"""Frozen dataclasses to plain data (JSON, YAML) and back, refusing what they do not know."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
COMPUTING = frozenset({"fit.memory_gigabytes", "fit.cuda_graphs"})   # change how a training is computed, not what


class SettingError(ValueError):
    """A setting that does not exist or has the wrong type."""


def to_plain(settings: Any) -> dict:
    """Nested dicts, lists and numbers of a dataclass; a whole number in a float's place is a float."""
    hints = typing.get_type_hints(type(settings))
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return {name: _plain(float(value) if hints[name] is float else value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def flat(plain: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested settings by names such as fit.clip."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= flat(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return found


def from_plain(cls: type[T], plain: Mapping[str, Any], where: str = "") -> T:
    """The dataclass with those values, defaults for what is left out.

    Raises: SettingError for an unknown key (with the nearest known one), a missing one or a value of the wrong type;
        what the class itself refuses is raised as it is.
    """
    if not isinstance(plain, Mapping):
        raise SettingError(f"{where or cls.__name__} must hold settings, not {plain!r}. Write `name: value` lines.")
    known = {f.name: f for f in dataclasses.fields(cls)}   # type: ignore[arg-type]   # T is a dataclass
    for key in plain:
        refuse_unknown(key, known, where)
    for f in known.values():
        if f.name not in plain and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise SettingError(f"setting {f'{where}.{f.name}'.lstrip('.')!r} is missing and has no default. Give it.")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _typed(value, hints[key], f"{where}.{key}".lstrip(".")) for key, value in plain.items()})


def refuse_unknown(key: str, known: typing.Iterable[str], where: str = "") -> None:
    """Raises SettingError with the nearest name where the key is not among the known."""
    known = list(known)
    if key not in known:
        near = difflib.get_close_matches(str(key), known, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(known)}."
        raise SettingError(f"unknown setting {f'{where}.{key}'.lstrip('.')!r}: it would do nothing. {hint}")


def _typed(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _typed(value, next(a for a in arguments if a is not type(None)), where)
    if origin is tuple and isinstance(value, (list, tuple)):
        items = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) != len(value):
            raise SettingError(f"{where}={list(value)} must have {len(items)} entries.")
        return tuple(_typed(item, kind, where) for item, kind in zip(value, items))
    if (origin or hint) is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise SettingError(f"{where}={value!r} must be of type {getattr(hint, '__name__', hint)}.")
