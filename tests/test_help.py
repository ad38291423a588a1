"""What the command line says of itself, and what the README files say of it."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from emotion.cli import _parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("recipes/**/README.md"))]


def commands(parser: argparse.ArgumentParser, words: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each subcommand, as it is typed, with its parser; the command itself too."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from commands(sub, f"{words} {name}".strip())


COMMANDS = dict(commands(_parser()))


def blocks(text: str) -> Iterator[str]:
    """Commands of indented blocks, without the comment behind two spaces or more."""
    for line in re.findall(r"^    (.*)$", text, re.MULTILINE):
        for part in re.split(r" \| | && ", re.split(r"\s{2,}| # ", line.strip())[0]):
            if match := re.search(r"(?:^|-m |[a-z0-9] )emotion (?=[a-z])(.*)", part):
                yield match[1]


def inline(text: str) -> Iterator[str]:
    """Commands between backticks; a line may break within."""
    return (" ".join(words.split()) for words in re.findall(r"`emotion ([a-z][^`]*)`", text))


FOUND = {kind: [(path, words) for path in PAGES for words in find(path.read_text(encoding="utf-8"))]
         for kind, find in (("block", blocks), ("inline", inline))}


@pytest.mark.parametrize("words", COMMANDS)
def test_everything_that_can_be_given_has_a_help_text(words):
    silent = [action.option_strings or action.dest for action in COMMANDS[words]._actions
              if not action.help and not isinstance(action, argparse._SubParsersAction)]
    assert not silent


@pytest.mark.parametrize("words", COMMANDS)
def test_every_help_page_can_be_shown(words):
    page = COMMANDS[words].format_help()   # a stray % in a help text would fail here
    assert page.startswith(f"usage: emotion {words}".strip())


def test_the_readme_files_show_commands():
    assert len(FOUND["block"]) > 15 and len(FOUND["inline"]) > 15


@pytest.mark.parametrize(("path", "words"), [found for found in FOUND["block"] if "..." not in found[1]])
def test_a_command_that_a_readme_shows_whole_is_understood(path, words):
    assert _parser().parse_args(shlex.split(words)).run


@pytest.mark.parametrize(("path", "words"), FOUND["inline"] + FOUND["block"])
def test_a_command_and_options_that_a_readme_names_are_there(path, words):
    given = shlex.split(words)
    name = max((known for known in COMMANDS if known and words.startswith(known)), key=len)
    assert given[: len(name.split())] == name.split()
    options = {option for action in COMMANDS[name]._actions for option in action.option_strings}
    assert {word.partition("=")[0] for word in given if word.startswith("-") and len(word) > 1} <= options


def test_the_api_pages_are_of_all_modules_but_the_command_line():
    globs = re.search(r"pdoc (.*) -o docs", (ROOT / "README.md").read_text())[1]
    before, inside, after = re.fullmatch(r"(.*)\{(.*)\}(.*)", globs).groups()
    first, _, folder = before.partition(" ")
    patterns = [first, *(folder + name + after for name in inside.split(","))]
    shown = {path for pattern in patterns for path in ROOT.glob(pattern)}
    modules = {path for path in (ROOT / "emotion").rglob("[a-z]*.py") if path.parent.name != "cli"}
    assert shown == modules
