"""Migrations of an application beside ours: which revisions are whose, and what comes next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask

from opsapp import migrations
from opsapp.migrations import Branch
from opsapp.state import EXTENSION
from tests.support import ACCOUNTS, CORE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations of a shop, and what else lies about."""
    for name in ("shop0001_begin.py", "shop0002_go_on.py", "shop_notes.py", "shops0009_x.py"):
        (tmp_path / name).touch()
    return tmp_path


def test_head_is_the_newest_file_of_the_label(folder: Path) -> None:
    shop = Branch("shop", folder)
    assert (shop.head, shop.following) == ("shop0002", "shop0003")


def test_folder_without_migrations_has_no_head(tmp_path: Path) -> None:
    shop = Branch("shop", tmp_path / "not-there-yet")
    assert (shop.head, shop.following) == (None, "shop0001")


def test_each_branch_knows_its_own_revisions(folder: Path) -> None:
    present = ["shop0001", "core0003", "shops0009", "8f3a"]
    assert migrations.our_branch("core").at(present) == "core0003"
    assert Branch("shop", folder).at(present) == "shop0001"
    assert Branch("toys", folder).at(present) is None


def test_application_built_on_opsapp_has_accounts_and_an_attached_one_has_not(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert migrations.heads(app) == [CORE, ACCOUNTS]
    with monkeypatch.context() as patch:
        patch.setitem(app.extensions, EXTENSION, SimpleNamespace(branches=("core",)))
        assert migrations.heads(app) == [CORE]


def test_application_s_head_stands_behind_ours(app: Flask, folder: Path, tmp_path: Path) -> None:
    migrations.add(app, "shop", folder)
    assert migrations.heads(app) == [CORE, ACCOUNTS, "shop0002"]
    migrations.add(app, "toys", tmp_path / "not-there-yet")
    assert migrations.heads(app) == [CORE, ACCOUNTS]


@pytest.mark.parametrize("label", ["core", "accounts"])
def test_label_of_opsapp_s_own_is_refused(app: Flask, folder: Path, label: str) -> None:
    with pytest.raises(ValueError, match="is a label of opsapp's own"):
        migrations.add(app, label, folder)


@pytest.mark.parametrize("label", ["", "Shop", "shop1", "my-shop", "s" * 29])
def test_label_that_could_be_mistaken_is_refused(app: Flask, folder: Path, label: str) -> None:
    with pytest.raises(ValueError, match="is not a label of lower-case letters"):
        migrations.add(app, label, folder)
