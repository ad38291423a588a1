import dataclasses
from pathlib import Path

import pytest

from emotion import checkpoint, labels
from emotion.settings import SettingError, to_plain
from emotion.train import config
from emotion.train.config import Config, FitConfig

RECIPES = Path(__file__).parents[2] / "recipes"
SETTINGS = sorted(
    path for path in RECIPES.glob("*/conf/*.yaml") if path.name not in ("labels.yaml", "split.yaml")
)


def written(folder, text):
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def another(value):
    """A value of the same type that is not the same; of settings, all but those that are words."""
    if dataclasses.is_dataclass(value):
        fields = [f.name for f in dataclasses.fields(value) if f.type != "str" and f.name != "sex_weight"]
        return dataclasses.replace(value, **{name: another(getattr(value, name)) for name in fields})
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return tuple(another(item) for item in value)
    return value / 2 if isinstance(value, float) else value + 1


# Known answers

@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: str(path.relative_to(RECIPES)))
def test_the_settings_of_every_recipe_describe_a_model(path):
    settings = config.read(path)
    options = {key: value for key, value in settings.model.items() if key != "name"}
    scheme = labels.scheme(settings.scheme, ("anger", "fear"))
    checkpoint.build(settings.model["name"], options, settings.frontend, scheme)


def test_the_recipes_have_settings():
    assert {RECIPES / corpus / "conf" / "serial.yaml" for corpus in ("mini", "ravdess")} <= set(SETTINGS)


def test_what_is_left_out_takes_its_default(tmp_path):
    assert config.read(written(tmp_path, "scheme: mini5")) == Config(scheme="mini5")


def test_an_override_beats_the_file_and_the_file_beats_the_default(tmp_path):
    text = "scheme: mini5\nfit: {max_epochs: 5, batch_size: 6}\nmodel: {name: serial, kernel: 5}"
    overrides = ["fit.max_epochs=3", "augment.speeds=[1]", "model.pools=[[2,1]]", "scheme=emodb4"]
    read = config.read(written(tmp_path, text), overrides)
    assert (read.fit.max_epochs, read.fit.batch_size, read.fit.clip) == (3, 6, FitConfig().clip)
    assert read.scheme == "emodb4" and read.augment.speeds == (1.0,)
    assert read.model == {"name": "serial", "kernel": 5, "pools": [[2, 1]]}


def test_a_file_can_extend_another_which_can_extend_a_third(tmp_path):
    (tmp_path / "far.yaml").write_text("scheme: mini5\nfit: {max_epochs: 5, batch_size: 6, clip: 2.0}")
    (tmp_path / "near.yaml").write_text("extends: far.yaml\nfit: {max_epochs: 7, batch_size: 8}")
    read = config.read(written(tmp_path, "extends: near.yaml\nfit: {max_epochs: 9}"))
    assert (read.fit.max_epochs, read.fit.batch_size, read.fit.clip) == (9, 8, 2.0)


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
def test_small_numbers_are_read_however_they_are_written(tmp_path, text):
    path = written(tmp_path, f"scheme: mini5\nfit: {{learning_rate: {text}}}")
    assert config.read(path).fit.learning_rate == 0.001


# Round trip

def test_settings_that_were_written_read_back_equal(tmp_path):
    plain = config.read(RECIPES / "mini" / "conf" / "serial.yaml")
    other = dataclasses.replace(plain, fit=another(plain.fit), augment=another(plain.augment))
    for settings in (plain, other):
        config.write(settings, tmp_path / "config.yaml")
        assert config.read(tmp_path / "config.yaml") == settings


# Refusal

@pytest.mark.parametrize("wrong, near", [
    ("fitt.max_epochs=3", "'fit'"), ("fit.max_epoch=3", "'max_epochs'"), ("augment.gain=1", "'gain_db'"),
    ("frontend.bands=3", "'num_bands'"), ("shceme=mini5", "'scheme'"),
])
def test_an_unknown_setting_is_refused_with_the_nearest_name(tmp_path, wrong, near):
    name = wrong.partition("=")[0]
    with pytest.raises(SettingError, match=f"'{name.split('.')[0]}.*would do nothing. Did you mean {near}"):
        config.read(written(tmp_path, "scheme: mini5"), [wrong])


@pytest.mark.parametrize("override", [
    "fit.max_epochs=2.5", "fit.max_epochs=many", "fit.max_epochs", "fit.balance=1", "fit=3",
    "model=serial", "augment.noise_snr_db=[1]", "augment.speeds=1", "fit.learning_rate=true",
])
def test_a_value_of_the_wrong_type_is_refused_by_name(tmp_path, override):
    with pytest.raises(SettingError, match=override.partition("=")[0]):
        config.read(written(tmp_path, "scheme: mini5"), [override])


@pytest.mark.parametrize("setting, value", [
    ("precision", "float16"), ("batch_size", 1), ("max_epochs", 0), ("learning_rate", 0.0),
    ("clip", 0.0), ("plateau_factor", 1.0), ("label_smoothing", 1.0), ("longest_seconds", 0.0),
    ("schedule", "linear"), ("averaging", "mean"),
    ("clip_by", "rank"), ("balance", "both"), ("ema_decay", 1.0), ("swa_start", -0.1),
    ("warmup_epochs", -1), ("stop_patience", -1), ("plateau_patience", -1), ("weight_decay", -0.1),
    ("most_per_speaker", -1), ("focal_gamma", -1.0), ("sex_weight", -1.0), ("teacher_weight", 1.5),
    ("teacher_temperature", 0.0),
])
def test_a_value_that_cannot_train_is_refused_before_anything_is_read(setting, value):
    with pytest.raises(SettingError, match=f"fit.{setting}"):
        FitConfig(**{setting: value})


def test_the_sex_of_mixed_voices_is_not_asked_for(tmp_path):
    conf = written(tmp_path, "scheme: mini5\nmodel: {name: serial, sex_head: true}")
    with pytest.raises(SettingError, match="mixed of two has no sex"):
        config.read(conf, ["fit.sex_weight=0.1", "augment.mixup_alpha=0.2"])


def test_a_cosine_that_never_falls_is_refused():
    with pytest.raises(SettingError, match="Train longer"):
        FitConfig(schedule="cosine", max_epochs=3, warmup_epochs=3)


def test_weights_averaged_over_epochs_need_a_schedule_that_comes_to_its_end():
    with pytest.raises(SettingError, match="Use schedule=cosine"):
        FitConfig(averaging="swa")


@pytest.mark.parametrize("override", ["fit.sex_weight=0.1", "model.sex_head=true"])
def test_a_second_task_without_its_weight_or_its_answer_is_refused(tmp_path, override):
    with pytest.raises(SettingError, match="needs both"):
        config.read(written(tmp_path, "scheme: mini5\nmodel: {name: serial}"), [override])


@pytest.mark.parametrize("text, said", [
    ("scheme: [", "Correct the YAML"), ("- scheme", "Correct the YAML"), ("", "'scheme' is missing"),
    ("scheme: mini5\nscheme: mini5", "duplicate"), ("scheme: ${nothing}", "Correct the YAML"),
    ("scheme: mini5\nmodel: {kernel: 5}", "Add model.name"), ("a: !!python/name:os.system", "Correct"),
])
def test_a_file_that_is_no_settings_is_refused(tmp_path, text, said):
    with pytest.raises(SettingError, match=said):
        config.read(written(tmp_path, text))


def test_bytes_that_are_no_text_are_refused_with_the_file_name(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"scheme: \xff")
    with pytest.raises(SettingError, match="settings.yaml"):
        config.read(path)


def test_a_file_that_extends_itself_is_refused(tmp_path):
    (tmp_path / "other.yaml").write_text("extends: settings.yaml")
    with pytest.raises(SettingError, match="settings.yaml extends itself"):
        config.read(written(tmp_path, "extends: other.yaml"))


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="no settings file .*none.yaml"):
        config.read(tmp_path / "none.yaml")


def test_settings_are_plain_data():
    assert to_plain(Config(scheme="mini5"))["augment"]["noise_snr_db"] == [10.0, 30.0]


@pytest.mark.parametrize("text, said", [
    ("scheme: mini5\nfti: {}", "'fti'"), ("scheme: mini5\nfit: {max_epochs: many}", "fit.max_epochs"),
    ("scheme: mini5\nfrontend: {hop_seconds: 9.0}", "hop_seconds=9.0"), ("7", "Correct the YAML"),
    ("extends: none.yaml", "no settings file .*none.yaml, which .*settings.yaml extends"),
])
def test_every_refusal_names_the_file(tmp_path, text, said):
    with pytest.raises((SettingError, FileNotFoundError), match=said) as refusal:
        config.read(written(tmp_path, text), ["fit.clip=2.0"] if "hop" in text else [])
    assert str(tmp_path / "settings.yaml") in str(refusal.value)
    assert "hop" not in text or "settings.yaml fit.clip=2.0: " in str(refusal.value)   # what --set adds may be to blame
