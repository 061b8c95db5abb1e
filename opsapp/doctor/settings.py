"""Checks that need no application: the settings, and the modes of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from flask.helpers import get_debug_flag

from .. import text
from ..accounts import breached
from ..errors import OpsError
from ..extensions import this_attachment
from ..files import modes as files
from ..settings import (
    HANDED_DOWN,
    IN_FILES,
    SECRETS,
    SETTINGS,
    SHIPPED_JOBS,
    SHIPPED_JOBS_ATTACHED,
    config,
    get,
)
from ..settings.setting import Setting
from . import sources
from .findings import Finding, finding, run_check

PRODUCTION_LIKE = frozenset({"production", "prod", "prd", "live"})
"""Names that operators give to production, in small letters."""

_SHIPPED = (SHIPPED_JOBS, SHIPPED_JOBS_ATTACHED)


def check_settings() -> Iterator[Finding]:
    """Yield the findings that need no application: the settings, and the files' modes."""
    yield _check_names()
    yield _check_environment_name()
    attached = this_attachment()
    if config.environment() != config.DEVELOPMENT and get_debug_flag():
        message = "a debugger that runs any code is for development only"
        yield finding("setting FLASK_DEBUG", "fail", message, "unset FLASK_DEBUG")
    for setting in SETTINGS:
        if setting.name in (SECRETS if attached is None else ("OPSAPP_AUDIT_KEY",)):
            yield _check_secret(setting)
    if attached is None:
        yield run_check("setting OPSAPP_URL", _check_url)
    if file := get("OPSAPP_BREACHED_PASSWORDS"):
        yield run_check("breached", lambda: finding("breached", "ok", breached.check(file)))
    yield from _check_modes(config.instance_folder())
    yield from _check_secret_files()


def _check_names() -> Finding:
    names = {*(setting.name for setting in SETTINGS), *IN_FILES, *HANDED_DOWN}
    strange = sorted({name for name in os.environ if name.startswith("OPSAPP_")} - names)
    if not strange:
        return finding("setting names", "ok", "every OPSAPP_… variable is a known setting")
    message = ", ".join(strange) + (" is no setting" if len(strange) == 1 else " are no settings")
    near = text.did_you_mean(strange[0], names, likeness=0.8)
    return finding("setting names", "warn", message, near or "flask doctor --settings")


def _check_environment_name() -> Finding:
    check, name = "setting OPSAPP_ENV", config.environment()
    if name != config.PRODUCTION and name.strip().lower() in PRODUCTION_LIKE:
        message = f"{name} is not {config.PRODUCTION}: severe changes ask for no more than --yes"
        return finding(check, "warn", message, f"OPSAPP_ENV={config.PRODUCTION}, if that is meant")
    return finding(check, "ok", name)


def _check_secret(setting: Setting) -> Finding:
    try:
        get(setting.name, os.environ if this_attachment() is None else None)
    except OpsError as error:
        return finding(f"setting {setting.name}", "fail", error.message, error.hint)
    source = sources.source(setting)
    message = f"set, from the {source}" if source != "default" else "generated for development"
    return finding(f"setting {setting.name}", "ok", message)


def _check_url() -> Finding:
    check, url = "setting OPSAPP_URL", get("OPSAPP_URL")
    if url and url.startswith("http:") and config.environment() != config.DEVELOPMENT:
        message = f"{url}: cookies are for https only, so login fails"
        return finding(check, "warn", message, "put TLS in front, and https:// here")
    if url:
        return finding(check, "ok", url)
    if config.environment() == config.DEVELOPMENT:
        return finding(check, "ok", "not set; development does without")
    message = "not set: the web part does not start, and mail has no links"
    return finding(check, "warn", message, "OPSAPP_URL=https://ops.example.com")


def _check_modes(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        return
    modes = files.modes(folder)
    for path in filter(Path.exists, {folder / "console.toml", Path(get("OPSAPP_JOBS"))}):
        if path not in _SHIPPED and (way := files.writable_by_others(path)) is not None:
            yield finding("file writers", "fail", f"others can write {path}", f"chmod go-w {way}")
    loose = [path for path, mode in modes.items() if files.is_exposed(path, mode, folder)]
    if loose:
        names = text.join_some([str(path) for path in loose], most=3)
        yield finding("file modes", "fail", f"others can read {names}", f"chmod 600 {loose[0]}")
    else:
        yield finding("file modes", "ok", f"{files.in_words(modes)}, none readable by other users")


def _check_secret_files() -> Iterator[Finding]:
    paths = [Path(file) for name in IN_FILES if (file := os.environ.get(name))]
    # The group may read them: the deploying user owns them, and the application is in the group.
    loose = [path for path in paths if (files.mode_of(path) or 0) & 0o007]
    if loose:
        names = ", ".join(map(str, loose))
        yield finding("secret files", "warn", f"others can read {names}", f"chmod o= {loose[0]}")
    elif present := [path for path in paths if path.exists()]:
        yield finding(
            "secret files", "ok", f"{files.in_words(present)}, none readable by other users"
        )
