"""The table of OWASP ASVS: each test that it names exists, and no requirement is named twice."""

from __future__ import annotations

import re

import pytest

from tests.support import ROOT

PAGE = (ROOT / "docs" / "asvs.md").read_text()
TESTS = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), sorted(set(TESTS)))
def test_each_test_of_the_table_exists(path: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / "tests" / path).read_text()


def test_each_requirement_is_named_once() -> None:
    ids = re.findall(r"\b\d+\.\d+\.\d+\b", " ".join(re.findall(r"^\| ([\d., ]+) \|", PAGE, re.M)))
    assert len(ids) == len(set(ids)) > 200
