"""The direction of imports, from the leaves to the command line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emotion

PACKAGE = Path(emotion.__file__).parent
NETWORKS = [f"models.{path.stem}" for path in (PACKAGE / "models").glob("[!_]*.py") if path.stem != "signature"]

TABLE = {  # what each module may import of the package; it stands below all that may import it
    **dict.fromkeys(["calibration", "hardware", "labels", "masking", "media", "metrics", "quality", "settings"], ""),
    **dict.fromkeys(["changes", "exported", "files", "slopes", "spectra", "speech", "timeline", "train"], ""),
    "fingerprint": "",

    "decoder": "media",
    "audio": "decoder media",
    "live": "audio decoder",
    "prosody": "hardware masking slopes",
    "features": "hardware masking prosody slopes spectra",
    "blocks": "masking",
    "heads": "labels masking",
    "models.signature": "blocks heads",
    **dict.fromkeys(NETWORKS, "blocks heads masking models.signature"),
    "models": " ".join(["settings models.signature", *NETWORKS]),
    "checkpoint": "calibration features files labels models settings",
    "plot": "files metrics timeline",
    "curves": "plot",
    "page": "plot",
    "datadir": "files labels",
    "datacheck": "datadir labels",
    "rows": "datadir files labels timeline",
    "tiers": "rows timeline",
    "formats": "datadir files rows tiers timeline",
    "splits": "datadir",

    "detector": "spectra speech",
    "baseline": "checkpoint features",
    "windows": "audio quality",
    "flow": "windows",
    "overlap": "audio datadir fingerprint flow",
    "sources": "audio decoder windows",
    "turns": "audio sources timeline",
    "engine": "blocks checkpoint detector exported hardware prosody",
    "stream": "audio timeline windows",
    "backend": "checkpoint engine exported",
    "analyzer": "audio backend baseline checkpoint engine exported flow quality sources speech stream timeline turns "
    "windows",
    "export": "checkpoint detector exported features files masking prosody settings speech",
    "emotion": "analyzer timeline",
    "doctor": "emotion analyzer audio flow hardware",
    "earlier": "datadir decoder files",
    "scores": "analyzer earlier files settings timeline",
    "bars": "labels page timeline",
    "report": "analyzer bars files labels page timeline",
    "ratings": "datadir files labels metrics",
    "posteriors": "datadir files metrics",
    "evaluate": "analyzer audio calibration checkpoint datadir files metrics plot posteriors ratings timeline windows",
    "results": "datadir metrics posteriors ratings settings",
    "compare": "datadir labels posteriors results",

    "stress": "analyzer changes checkpoint datadir evaluate files labels metrics page",

    "train.effects": "hardware masking",
    "train.augment": "hardware masking settings train.effects",
    "train.config": "checkpoint features labels settings train.augment",
    "train.dataset": "audio datadir decoder hardware labels splits train.config",
    "train.distributed": "hardware",
    "train.losses": "",
    "train.replay": "models",
    "train.system": "checkpoint datadir hardware metrics models train.augment train.config train.dataset "
                    "train.distributed train.losses train.replay",
    "train.callbacks": "files",
    "train.origin": "calibration checkpoint datadir files settings train.config",
    "train.fit": "emotion analyzer baseline checkpoint curves datadir evaluate files hardware labels settings "
                 "train.callbacks train.config train.dataset train.distributed train.losses train.origin train.system",

    "listing": "audio datadir decoder",
    "cluster": "analyzer audio checkpoint files listing scores windows",
    "explain": "analyzer features models plot slopes sources timeline turns",
    "scoring": "analyzer audio cluster datadir decoder earlier files flow formats labels live report scores windows",
    "serve.limits": "",
    "serve.gate": "serve.limits",
    "serve.picture": "features",
    "serve.worker": "analyzer windows",
    "serve.hearing": "analyzer audio features serve.picture serve.worker timeline windows",
    "serve.schema": "formats page serve.picture timeline",
    "serve.app": "emotion analyzer audio formats labels page serve.gate serve.hearing serve.limits serve.schema "
    "serve.worker timeline",
    "serve": "analyzer serve.app serve.limits serve.worker",
    "cli.arguments": "",
    "cli.score": "cli.arguments scoring",
    "cli.show": "analyzer audio checkpoint cli.arguments doctor explain export formats plot scoring serve",
    "cli.train": "analyzer checkpoint cli.arguments compare evaluate results stress train.config train.fit",
    "cli.data": "cli.arguments datacheck datadir overlap splits",
    "cli": "emotion cli.data cli.score cli.show cli.train",
    "__main__": "cli",
}
HEAVY = {  # where it may be imported, and outside of train and serve only inside functions
    "lightning": "train.callbacks train.distributed train.fit train.system", "matplotlib": "curves explain plot",
    "captum": "explain", "sklearn": "metrics", "scipy": "changes compare fingerprint", "librosa": "train.system",
    "fastapi": "serve.app serve.gate", "starlette": "serve.app serve.gate",
    "pydantic": "serve.app serve.schema", "uvicorn": "serve",
    "pandas": "formats", "pyarrow": "cluster formats", "ray": "cluster", "fsspec": "listing",
    "omegaconf": "results splits train.config", "yaml": "splits train.config",
}


def name_of(path: Path) -> str:
    """models/serial.py -> models.serial, models/__init__.py -> models, __init__.py -> emotion."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "emotion"


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imported(node: ast.AST, package: str = "emotion") -> set[str]:
    """Full names of all that is imported below a node of a module in that package, functions included."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - part.level] if part.level else []
            home = ".".join([*above, *filter(None, [part.module])])
            found |= {f"{home}.{alias.name}" for alias in part.names}
    return found


def package_of(name: str) -> str:
    full = "emotion" if name == "emotion" else f"emotion.{name}"
    return full if MODULES[name].name == "__init__.py" else full.rpartition(".")[0]


def of_the_package(names: set[str]) -> set[str]:
    """The modules of this package among imported names: emotion.timeline.Segment is of timeline."""
    inside = set()
    for full in names:
        root, *parts = full.split(".")
        if root == "emotion":
            stems = [".".join(parts[:k]) for k in range(len(parts), 0, -1)]
            inside.add(next((stem for stem in stems if stem in MODULES), "emotion"))
    return inside


@pytest.mark.parametrize("source, expected", [
    ("from . import audio, checkpoint", {"audio", "checkpoint"}),
    ("from .. import audio", {"audio"}),
    ("from .config import Config", {"train.config"}),
    ("from ..models.serial import Serial", {"models.serial"}),
    ("import emotion.timeline as t, torch", {"timeline"}),
    ("def f():\n    from emotion.timeline import Segment", {"timeline"}),
    ("from emotion import Analyzer, plot", {"emotion", "plot"}),
    ("import emotions\nfrom torch import nn", set()),
])
def test_the_reader_of_imports_sees_them_all(source, expected):
    package = "emotion" if source.startswith("from . ") else "emotion.train"
    assert of_the_package(imported(ast.parse(source), package)) == expected


def test_every_module_stands_in_the_table():
    assert set(TABLE) == set(MODULES)


def test_the_table_looks_down_only():
    order = list(TABLE)
    for name, allowed in TABLE.items():
        assert all(order.index(below) < order.index(name) for below in allowed.split()), name


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_the_table_allows(name):
    found = of_the_package(imported(tree(name), package_of(name)))
    assert found <= set(TABLE[name].split()), f"{name} imports {found - set(TABLE[name].split())}"


@pytest.mark.parametrize("name", MODULES)
def test_heavy_libraries_stay_in_their_homes_and_inside_functions(name):
    top = [node for node in tree(name).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    for library, homes in HEAVY.items():
        def holds(node: ast.AST, library=library) -> bool:
            return any(full.split(".")[0] == library for full in imported(node))

        assert not holds(tree(name)) or name in homes.split(), f"{name} imports {library}"
        assert not any(map(holds, top)) or name.startswith(("train.", "serve.")), f"{name} imports {library} at its top"


def test_only_the_train_subcommand_imports_training():
    for name in MODULES:
        for node in tree(name).body:
            found = of_the_package(imported(node, package_of(name)))
            if any(module.partition(".")[0] == "train" for module in found):
                assert name.startswith("train.") or (name, getattr(node, "name", "")) == ("cli.train", "_train")


def test_the_command_line_imports_nothing_before_it_is_asked():
    for module in ("cli", *(name for name in MODULES if name.startswith("cli."))):
        top = [node for node in tree(module).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = set().union(*(imported(node, package_of(module)) for node in top))
        outside = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
        assert all(name == "emotion.__version__" or name.startswith("emotion.cli.") for name in outside), module


def test_only_the_package_itself_imports_by_string_and_only_these():
    for name in MODULES:
        calls = {ast.unparse(node.func) for node in ast.walk(tree(name)) if isinstance(node, ast.Call)}
        by_string = {call for call in calls if call.split(".")[-1] in ("import_module", "__import__")}
        assert not by_string or name == "emotion"
    assert set(emotion._HOMES.values()) == {f".{name}" for name in TABLE["emotion"].split()}


def test_the_analyzer_loads_no_heavy_library_and_changes_nothing_global():
    program = """
import logging, sys, warnings
import numpy, soundfile, soxr, safetensors.torch, torch, torchaudio
def state():
    return (torch.get_num_threads(), torch.get_rng_state().tolist(), str(numpy.random.get_state()),
            warnings.filters[:], logging.root.level, logging.root.handlers[:], torch.get_default_dtype())
before = state()
from emotion import Analyzer, Segment, Timeline
assert state() == before
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "emotion" in loaded and not loaded & HEAVY.keys()


def test_tables_are_compared_without_pytorch():
    program = "import sys; import emotion.compare, emotion.results; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.stdout == "False\n", done.stderr
