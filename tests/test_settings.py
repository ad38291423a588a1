from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from emotion.features import FrontendConfig
from emotion.models import MODELS
from emotion.settings import SettingError, from_plain, refuse_unknown, to_plain


@dataclass(frozen=True)
class Inner:
    width: int = 2
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Settings:
    name: str
    inner: Inner = Inner()
    fast: bool = True
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.0, 1.0)
    pairs: tuple[tuple[int, int], ...] = ((1, 2),)
    limit: float | None = None
    free: dict = field(default_factory=dict)


FULL = {"name": "x", "inner": {"width": 3, "share": 0.25}, "fast": False, "sizes": [4, 5, 6],
        "pair": [0.5, 2.0], "pairs": [[3, 4], [5, 6]], "limit": 1.5, "free": {"a": [1, {"b": None}]}}


# Known answers

def test_what_is_left_out_takes_its_default():
    assert from_plain(Settings, {"name": "x"}) == Settings(name="x")


def test_part_of_a_nested_setting_leaves_the_rest():
    assert from_plain(Settings, {"name": "x", "inner": {"width": 7}}).inner == Inner(width=7, share=0.5)


def test_lists_become_tuples_at_every_depth():
    settings = from_plain(Settings, FULL)
    assert settings.sizes == (4, 5, 6) and settings.pairs == ((3, 4), (5, 6))


def test_a_whole_number_is_welcome_where_a_float_is_meant():
    settings = from_plain(Settings, {"name": "x", "inner": {"share": 1}, "limit": 2, "pair": [0, 1]})
    values = (settings.inner.share, settings.limit, *settings.pair)
    assert values == (1.0, 2.0, 0.0, 1.0) and all(type(value) is float for value in values)


def test_none_is_welcome_where_it_is_allowed():
    assert from_plain(Settings, {"name": "x", "limit": None}).limit is None


# Round trip

def test_plain_data_survives_the_dataclass():
    assert to_plain(from_plain(Settings, FULL)) == FULL


def test_a_dataclass_survives_json():
    settings = from_plain(Settings, FULL)
    assert from_plain(Settings, json.loads(json.dumps(to_plain(settings)))) == settings


@pytest.mark.parametrize("cls", [FrontendConfig, *(model.Config for model in MODELS.values())])
def test_the_defaults_of_every_config_survive_json(cls):
    assert from_plain(cls, json.loads(json.dumps(to_plain(cls())))) == cls()


def test_equal_settings_are_equal_text():
    whole, fraction = FrontendConfig(high_hz=8000), FrontendConfig(high_hz=8000.0)
    assert whole == fraction and json.dumps(to_plain(whole)) == json.dumps(to_plain(fraction))


# Refusals

@pytest.mark.parametrize("plain, message", [
    ({"nme": "x"}, "unknown setting 'nme'.*Did you mean 'name'"),
    ({"name": "x", "inner": {"widht": 3}}, "unknown setting 'inner.widht'.*Did you mean 'width'"),
    ({"name": "x", "zzz": 1}, "There are name, inner, fast"),
    ({"name": "x", 7: 1}, "unknown setting '7'"),
])
def test_an_unknown_key_names_the_nearest(plain, message):
    with pytest.raises(SettingError, match=message):
        from_plain(Settings, plain)


def test_the_place_is_named():
    with pytest.raises(SettingError, match="'frontend.num_band'.*num_bands"):
        from_plain(FrontendConfig, {"num_band": 3}, "frontend")


@pytest.mark.parametrize("key, value", [
    ("name", 3), ("name", None), ("fast", 1), ("fast", "yes"), ("sizes", 3), ("sizes", "12"),
    ("sizes", [1, 2.5]), ("sizes", [True]), ("pair", [1.0]), ("pair", [1.0, 2.0, 3.0]), ("pair", ["a", "b"]),
    ("pairs", [1, 2]), ("pairs", [[1, 2, 3]]), ("limit", "fast"), ("limit", True), ("free", []), ("inner", 3),
    ("inner", None),
])
def test_a_wrong_type_is_refused_by_name(key, value):
    with pytest.raises(SettingError, match=key):
        from_plain(Settings, {"name": "x", key: value})


@pytest.mark.parametrize("value", [1.0, "1", True, None])
def test_only_a_whole_number_is_whole(value):
    with pytest.raises(SettingError, match="inner.width=.* must be of type int"):
        from_plain(Settings, {"name": "x", "inner": {"width": value}})


def test_a_missing_setting_without_default_is_named():
    with pytest.raises(SettingError, match="'recipe.name' is missing"):
        from_plain(Settings, {"fast": True}, "recipe")


@pytest.mark.parametrize("plain", [None, 3, "name", ["name"]])
def test_what_is_no_mapping_is_refused(plain):
    with pytest.raises(SettingError, match="must hold settings"):
        from_plain(Settings, plain)


def test_what_the_class_itself_refuses_comes_through():
    with pytest.raises(ValueError, match="Lower hop_seconds"):
        from_plain(FrontendConfig, {"hop_seconds": 1.0})


def test_a_known_key_is_let_through():
    assert refuse_unknown("name", ["name"]) is None
