"""Untrusted text: escaped before it is shown, and refused as input where it is hostile.

A character is hostile when it moves the cursor, hides or reorders its
neighbours or cannot be encoded: the Unicode categories Cc, Cf, Cs, Co, Cn, Zl
and Zp. A terminal obeys them, so data must never bring them there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from .errors import Invalid

_HOSTILE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_OBEYED = "a terminal would obey and not show"
_REASONS = {
    "Cn": "is an unassigned character",
    "Co": "is for private use and means something else to each program",
    "Cs": "is no character",
}


def _is_hostile(character: str) -> bool:
    return not character.isprintable() and unicodedata.category(character) in _HOSTILE


def _escape(character: str) -> str:
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def is_utf8(value: str) -> bool:
    """Return False for a text with bytes that are not UTF-8, which Python reads as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def safe(value: object) -> str:
    r"""Return ``value`` safe for a terminal: ESC becomes the four characters ``\x1b``."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(_escape(c) if _is_hostile(c) else c for c in text)


def safe_value(value: object) -> object:
    """Return a plain string safe, and any other value as it is: Jinja's ``finalize``.

    Mark-up, which is a string of its own type, stays as it is.
    """
    return safe(value) if type(value) is str else value


def safe_lines(text: str) -> str:
    """Return each line of a text safe, with the ends of its lines as they are."""
    return "\n".join(map(safe, text.split("\n")))


def first_line(error: BaseException) -> str:
    """Return the first line of an error, made safe; its kind if it has none."""
    lines = str(error).strip().splitlines()
    return safe(lines[0]) if lines else type(error).__name__


def reason(error: BaseException) -> str:
    """Return the reason of an error, without the path that a message names already."""
    return (isinstance(error, OSError) and error.strerror) or first_line(error)


def validate(value: str, field: str, *, longest: int) -> str:
    """Return ``value`` in Unicode form NFKC, if it is harmless.

    :param field: what the person calls it; the error names it.
    :param longest: the most characters allowed.
    :raises Invalid: empty, too long, or with a hostile character; says which and where.
    """
    if len(value) > longest:
        raise Invalid(f"{field} is {len(value):,} characters long; {longest} are allowed")
    for position, character in enumerate("" if value.isprintable() else value, start=1):
        if _is_hostile(character):
            why = _REASONS.get(unicodedata.category(character), _OBEYED)
            point = f"U+{ord(character):04X} at position {position}"
            raise Invalid(f"{field} has the character {point}, which {why}")
    normal = unicodedata.normalize("NFKC", value).strip()
    if not normal:
        raise Invalid(f"{field} is empty")
    return normal


def canonical(value: str) -> str:
    """Return the form in which two spellings of one name are equal: NFKC, case folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())


def each(names: str | Iterable[str]) -> Iterable[str]:
    """Return the names; a single name is one, and not its letters."""
    return [names] if isinstance(names, str) else names


def truncate(value: str, longest: int = 60) -> str:
    """Return ``value`` made safe and cut for a message."""
    text = safe(value[:longest])
    return text if len(value) <= longest else text[:longest] + "…"


def sentence(message: str) -> str:
    """Return a message as a sentence; a value or code that it begins with keeps its letters."""
    first = message[:1].upper() if _WORD.match(message) else message[:1]
    return first + message[1:] + ("" if message.endswith((".", "!", "?", "…")) else ".")


_WORD = re.compile(r"[a-z]+(?:-[a-z]+)?:? ")


def did_you_mean(word: str, words: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Return ``did you mean X?`` for the known word nearest to ``word``, if one is near.

    :param likeness: from 0 to 1; how near is near.
    """
    near = get_close_matches(word, list(words), n=1, cutoff=likeness)
    return f"did you mean {safe(near[0])}?" if near else None


def sparkline(points: Sequence[float | None], *, gap: str = " ") -> str:
    """Return the points as blocks between zero and the highest point.

    :param gap: the character for a point that is None.
    """
    highest = max((point for point in points if point is not None), default=0.0)
    return "".join(
        gap if point is None else _BLOCKS[round(point / highest * 7) if highest else 0]
        for point in points
    )


_BLOCKS = "▁▂▃▄▅▆▇█"


def pluralize(count: float, noun: str) -> str:
    """Return a number with its noun: ``1 account``, ``2,000 names of the audit log``.

    :param noun: in the singular; its first word gets the ``s``.
    """
    number = f"{count:,}" if isinstance(count, int) else f"{count:,g}"
    first, space, rest = noun.partition(" ")
    return f"{number} {first}{'' if count == 1 else 's'}{space}{rest}"


def join_some(words: Sequence[str], most: int = 5) -> str:
    """Return the first of these words with commas: ``ada, bob and 3 more``."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
