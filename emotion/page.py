"""What the pages of this package share: style, colours of emotions and dimensions, a policy, text that stays text."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from pathlib import Path

from .plot import COLOURS, LINES

STYLE = Path(__file__).with_name("page.css")
PAINTS = COLOURS | LINES
ENDS = {"arousal": ("calm", "active"), "valence": ("negative", "positive"), "dominance": ("weak", "strong")}

# What would break a line, turn the direction of the text around it, or is no text at all.
UNSHOWABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def read(template: Path, names: Iterable[str]) -> str:
    """A template with the style of all pages and the colours of these labels and dimensions; the rest is still to be
    filled in.

    Raises: ValueError for a label that has no colour.
    """
    names = list(names)
    if colourless := [name for name in names if name not in PAINTS]:
        raise ValueError(
            f"no colour for {', '.join(colourless)}; there are colours for {', '.join(COLOURS)}: two pages could "
            "not be compared by eye. Map the labels to these names."
        )
    style = STYLE.read_text(encoding="utf-8").replace("$colours", "\n".join(map(colour, names)))
    return template.read_text(encoding="utf-8").replace("$style\n", style)


def policy(page: str, **allowed: str) -> str:
    """The content security policy of a page: its own style and script by their hashes, what is allowed besides.

    allowed: sources by directive, as in media_src="data:", or more scripts beside the page's own.
    """
    rules = {"default-src": "'none'"}
    for kind, part in re.findall(r"<(style|script)>(.*?)</\1>", page, re.DOTALL):
        rules[f"{kind}-src"] = f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
    for name, sources in allowed.items():
        directive = name.replace("_", "-")
        rules[directive] = f"{rules[directive]} {sources}" if directive in rules else sources
    rules |= {"base-uri": "'none'", "form-action": "'none'"}
    return "; ".join(f"{directive} {sources}" for directive, sources in rules.items())


def colour(name: str) -> str:
    """The rule that gives a class of that name the colour of the label or dimension, and a colour to write on it."""
    red, green, blue = (int(PAINTS[name][place : place + 2], 16) for place in (1, 3, 5))
    on = "#fff" if 0.299 * red + 0.587 * green + 0.114 * blue < 125 else "#000"
    return f".{name} {{ --colour: {PAINTS[name]}; --on: {on}; }}"


def asked(named: bool, dimensions: Iterable[str]) -> str:
    """What listeners are asked for whom a model of this kind follows."""
    return " and ".join([*(["one word"] if named else []), *(["ratings"] if dimensions else [])])


def ends(dimensions: Iterable[str]) -> str:
    """What the ends of the dimensions stand for, in words."""
    return ", ".join(f"{name} from {ENDS[name][0]} (0) to {ENDS[name][1]} (1)" for name in dimensions)


def shown(text: str) -> str:
    r"""A text on one line, in its own direction: a line feed as \n, a byte that is not UTF-8 as \udcff."""
    return UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped(text: str) -> str:
    """A text as it may stand in a page."""
    return html.escape(shown(text))


def clock(seconds: float) -> str:
    """Minutes and seconds, as 1:03.2, behind hours where there are any."""
    minutes, tenths = divmod(round(10 * seconds), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"
