"""Text from elsewhere: escaped where it is shown, refused where it is entered."""

from __future__ import annotations

import unicodedata

import pytest

from opsapp import text
from opsapp.errors import Invalid

HOSTILE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def test_every_character_is_shown_or_escaped_by_its_number() -> None:
    for point in (*range(0x3100), *range(0xD7F0, 0xE010), *range(0xFDCF, 0x10200), 0x10FFFF):
        character = chr(point)
        digits = 2 if point < 0x100 else 4 if point < 0x10000 else 8
        escaped = f"\\{ {2: 'x', 4: 'u', 8: 'U'}[digits] }{point:0{digits}x}"
        is_hostile = unicodedata.category(character) in HOSTILE
        assert text.safe(character) == (escaped if is_hostile else character), hex(point)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ada", "ada"),
        (7, "7"),
        ("", ""),
        ("a\u00a0b", "a\u00a0b"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\U000e0041b", "a\\U000e0041b"),
        ("\xff\u0100\uffff\U00010000", "\xff\u0100\\uffff\U00010000"),
    ],
)
def test_safe_text_keeps_what_a_terminal_shows(value: object, expected: str) -> None:
    assert text.safe(value) == expected


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n one\ntwo"), "one"),
        (ValueError("\x1b[2J"), "\\x1b[2J"),
        (ValueError(), "ValueError"),
        (KeyError(), "KeyError"),
    ],
)
def test_first_line_of_an_error_is_harmless(error: Exception, line: str) -> None:
    assert text.first_line(error) == line


def test_reason_of_an_error_leaves_the_path_out() -> None:
    assert text.reason(FileNotFoundError(2, "No such file", "/secret")) == "No such file"
    assert text.reason(OSError("the disk is full")) == "the disk is full"
    assert text.reason(ValueError("no number\n3")) == "no number"

    class WithReason(Exception):
        strerror = "no error of the system"

    assert text.reason(WithReason("the message")) == "the message"


def test_checked_value_is_normal_and_without_spaces_around_it() -> None:
    assert text.validate(" \ufb01ne ", "name", longest=10) == "fine"
    assert text.validate("a" * 10, "name", longest=10) == "a" * 10
    assert text.validate("a\u00a0b", "name", longest=10) == "a b"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "name is empty"),
        (" \u3000 ", "name is empty"),
        ("a" * 1001, "name is 1,001 characters long; 1000 are allowed"),
        (
            "a\x1b",
            "name has the character U+001B at position 2, which a terminal would obey and not show",
        ),
        (
            "\u202e",
            "name has the character U+202E at position 1, which a terminal would obey and not show",
        ),
        (
            "ab\u0378",
            "name has the character U+0378 at position 3, which is an unassigned character",
        ),
        (
            "\ue000",
            "name has the character U+E000 at position 1,"
            " which is for private use and means something else to each program",
        ),
        ("\ud800", "name has the character U+D800 at position 1, which is no character"),
    ],
)
def test_hostile_value_is_refused_with_its_place(value: str, message: str) -> None:
    with pytest.raises(Invalid) as raised:
        text.validate(value, "name", longest=1000)
    assert raised.value.message == message


def test_spellings_of_one_name_have_one_canonical_form() -> None:
    assert text.canonical("Stra\u00dfe") == text.canonical("STRASSE") == "strasse"
    assert text.canonical("\uff21da") == "ada"
    # Its folding is not normal: the second normalisation is needed.
    assert text.canonical("\u0345\u0300") == text.canonical("\u0300\u0345")
    assert text.canonical("\u1f88") == unicodedata.normalize("NFKC", "\u1f00\u03b9")


def test_single_name_is_one_and_not_its_letters() -> None:
    assert list(text.each("ada")) == ["ada"]
    assert list(text.each(("ada", "bob"))) == ["ada", "bob"]


def test_long_value_is_cut_in_a_message() -> None:
    assert text.truncate("a" * 60) == "a" * 60
    assert text.truncate("a" * 61) == "a" * 60 + "\u2026"
    assert text.truncate("abcd", 3) == "abc\u2026"
    assert text.truncate("a\x1bcd", 3) == "a\\x\u2026"
    assert text.truncate("a\x1b", 3) == "a\\x1b"
    assert text.truncate("a\x1bc", 2) == "a\\\u2026"


def test_near_word_is_suggested() -> None:
    assert text.did_you_mean("suport", ["admin", "support"]) == "did you mean support?"
    assert text.did_you_mean("suport", iter(["suportx", "support"])) == "did you mean support?"
    assert text.did_you_mean("xyz", ["admin", "support"]) is None
    assert text.did_you_mean("abcde", ["abcxy"]) == "did you mean abcxy?"  # Just as near as 0.6.
    assert text.did_you_mean("abcde", ["abcxy"], likeness=0.61) is None
    assert text.did_you_mean("ad\x1bmin", ["ad\x1bmins"]) == "did you mean ad\\x1bmins?"


def test_sparkline_stands_between_zero_and_its_highest_point() -> None:
    assert text.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert text.sparkline([0, None, 14]) == "▁ █"
    assert text.sparkline([0.5, None], gap="-") == "█-"
    assert text.sparkline([0, 0]) == "▁▁"
    assert text.sparkline([None, None]) == "  "
    assert text.sparkline([]) == ""


def test_bytes_that_are_not_utf8_are_told() -> None:
    assert text.is_utf8("é𐀀")
    assert not text.is_utf8(b"caf\xe9".decode(errors="surrogateescape"))


def test_number_agrees_with_its_noun() -> None:
    assert text.pluralize(1, "account") == "1 account"
    assert text.pluralize(0, "account") == "0 accounts"
    assert text.pluralize(2, "account") == "2 accounts"
    assert text.pluralize(2_000_000, "account") == "2,000,000 accounts"
    assert text.pluralize(1.0, "minute") == "1 minute"
    assert text.pluralize(0.5, "minute") == "0.5 minutes"
    assert text.pluralize(1, "name of the audit") == "1 name of the audit"
    assert text.pluralize(2000, "name of the audit") == "2,000 names of the audit"


def test_list_of_words_is_cut_and_counted() -> None:
    assert text.join_some(["ada"]) == "ada"
    assert text.join_some(list("abcde")) == "a, b, c, d, e"
    assert text.join_some(list("abcdef")) == "a, b, c, d, e and 1 more"
    assert text.join_some(["a"] * 2001, 1) == "a and 2,000 more"


def test_lines_are_made_safe_and_stay_lines() -> None:
    assert text.safe_lines("a\x1b\n\n\u2028b\r\n") == "a\\x1b\n\n\\u2028b\\x0d\n"


def test_only_a_plain_string_is_made_safe_for_a_page() -> None:
    class Markup(str):
        __slots__ = ()

    mark_up = Markup("<b>\n</b>")
    assert text.safe_value("a\x1b\n") == "a\\x1b\\x0a"
    assert text.safe_value(mark_up) is mark_up
    assert text.safe_value(7) == 7


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("role desk is built in", "Role desk is built in."),
        ("e-mail x@y: it has no dot.", "E-mail x@y: it has no dot."),
        ("ada@example.com is there twice", "ada@example.com is there twice."),
        ("users:read is unknown?", "users:read is unknown?"),
        ("name xxx…", "Name xxx…"),
        ("never again!", "Never again!"),
        ("", "."),
    ],
)
def test_message_becomes_a_sentence(message: str, expected: str) -> None:
    assert text.sentence(message) == expected
