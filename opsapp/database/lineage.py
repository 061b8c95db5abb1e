"""Lineage: the migrations of a folder are one line, though several developers add files.

Alembic warns of two files with one revision and applies one of them, so nothing may run
before the files were looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from .. import text
from ..errors import NotReady
from ..migrations import Branch


@dataclass(frozen=True, slots=True)
class Migration:
    """A file, the revision in it, and those it follows on."""

    file: Path
    revision: str
    parents: tuple[str, ...]
    of: Branch

    @property
    def name(self) -> str:
        """The file's name, and its folder's."""
        return text.safe(f"{self.file.parent.name}/{self.file.name}")


Signature = tuple[tuple[str, int, int], ...]
_sound: set[Signature] = set()


def check(branches: Sequence[Branch]) -> None:
    """Return if the files of each branch are one line, whose order is that of their numbers.

    :raises NotReady: they are not; names the files, and says how to mend it.
    """
    signature = _signature(branches)
    if signature in _sound:
        return  # A server that is asked whether it is ready need not import them again.
    lines = [[_read(file, of) for file in of.files] for of in branches]
    _refuse_twins([migration for line in lines for migration in line])
    for of, line in zip(branches, lines, strict=True):
        _refuse_misnamed(line)
        _refuse_orphans(line)
        _refuse_circle(line)
        _refuse_fork(of, line)
        _refuse_disorder(of, line)
    _sound.add(signature)


def _signature(branches: Iterable[Branch]) -> Signature:
    return tuple(_state(file) for of in branches for file in of.files)


def _state(file: Path) -> tuple[str, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return (str(file), 0, 0)  # A link to nowhere; importing it says so.
    return (str(file), stat.st_mtime_ns, stat.st_size)


def _read(file: Path, of: Branch) -> Migration:
    name = text.safe(f"{file.parent.name}/{file.name}")
    try:
        spec: Any = spec_from_file_location(f"migration_{file.stem}", file)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {text.first_line(error)}"
        raise NotReady(
            f"the migration {name} cannot be imported: {reason}",
            hint="fix the file, or remove it if it is not a migration",
        ) from error
    revision = getattr(module, "revision", None)
    if not isinstance(revision, str):
        raise NotReady(f"{name} is not a migration: it has no revision", hint="move it elsewhere")
    parents = getattr(module, "down_revision", None) or ()
    return Migration(file, revision, (parents,) if isinstance(parents, str) else parents, of)


def _refuse_twins(migrations: Iterable[Migration]) -> None:
    by_revision: dict[str, Migration] = {}
    for migration in migrations:
        twin = by_revision.setdefault(migration.revision, migration)
        if twin is not migration:
            raise NotReady(
                f"two migrations are revision {text.safe(migration.revision)}:"
                f" {twin.name} and {migration.name}",
                hint=_way_with_twins(twin, migration),
            )


def _way_with_twins(first: Migration, second: Migration) -> str:
    if first.file.read_bytes() != second.file.read_bytes():
        return _renumber_hint(second, second.of.head)
    copy = first if second.file.name.startswith(f"{second.revision}_") else second
    return f"they are the same: remove {copy.name}"


def _renumber_hint(migration: Migration, parent: str | None) -> str:
    new = migration.of.following + migration.of.mark(migration.revision)
    slug = migration.file.stem.partition("_")[2] or migration.file.stem
    return (
        f"renumber one: name {migration.name} {text.safe(f'{new}_{slug}.py')},"
        f' with revision = "{new}" and down_revision = "{text.safe(parent or "")}" in it'
    )


def _refuse_misnamed(line: Iterable[Migration]) -> None:
    for migration in line:
        revision = text.safe(migration.revision)
        if not migration.of.has(migration.revision):
            raise NotReady(
                f"the revision of {migration.name} is {revision},"
                f" and those of its folder are {migration.of.label}0001 and so on",
                hint=f"its next is {migration.of.following}; or move the file elsewhere",
            )
        if not migration.file.name.startswith(f"{migration.revision}_"):
            raise NotReady(
                f"the name of {migration.name} does not begin with its revision {revision}",
                hint=f"name it {revision}_….py",
            )


def _refuse_orphans(line: Sequence[Migration]) -> None:
    revisions = {migration.revision for migration in line}
    for migration in line:
        for parent in migration.parents:
            if parent not in revisions:
                raise NotReady(
                    f"{migration.name} follows {text.safe(parent)}, which is not there",
                    hint="bring that file back, or set down_revision to the one before it",
                )


def _refuse_circle(line: Sequence[Migration]) -> None:
    placed: set[str] = set()
    remainder = list(line)
    while ready := [migration for migration in remainder if placed.issuperset(migration.parents)]:
        placed.update(migration.revision for migration in ready)
        remainder = [migration for migration in remainder if migration not in ready]
    if remainder:
        raise NotReady(
            f"these migrations follow each other in a circle: {_join_names(remainder)}",
            hint="set down_revision of the first to the one before it",
        )


def _join_names(migrations: Iterable[Migration]) -> str:
    return ", ".join(migration.name for migration in migrations)


def _refuse_fork(of: Branch, line: Sequence[Migration]) -> None:
    followed = {parent for migration in line for parent in migration.parents}
    heads = [migration for migration in line if migration.revision not in followed]
    if len(heads) < 2:
        return
    behind = {migration.revision: migration for migration in line}
    before = [_ancestors(head, behind) for head in heads[:2]]
    # Each side without the common part, oldest first; the shorter is the one to renumber.
    own = [
        [migration for migration in line if migration.revision in own_line - other_line]
        for own_line, other_line in ((before[0], before[1]), (before[1], before[0]))
    ]
    stays, moves = (1, 0) if len(own[0]) < len(own[1]) else (0, 1)
    first = [min(side, key=lambda migration: of.number(migration.revision)) for side in own]
    hint = _renumber_hint(first[moves], heads[stays].revision)
    more = "; then what follows it likewise" if len(own[moves]) > 1 else ""
    raise NotReady(
        f"two migrations follow {text.safe(' '.join(first[0].parents)) or 'nothing'}:"
        f" {first[0].name} and {first[1].name}",
        hint=hint + more,
    )


def _ancestors(head: Migration, behind: dict[str, Migration]) -> set[str]:
    ancestors: set[str] = set()
    queue = [head.revision]
    while queue:
        revision = queue.pop()
        if revision not in ancestors:
            ancestors.add(revision)
            queue.extend(behind[revision].parents)
    return ancestors


def _refuse_disorder(of: Branch, line: Iterable[Migration]) -> None:
    numbers = {migration.revision: of.number(migration.revision) for migration in line}
    for migration in line:
        for parent in migration.parents:
            if numbers[parent] >= numbers[migration.revision]:
                raise NotReady(
                    f"{migration.name} follows {parent}, whose number is not lower",
                    hint=_renumber_hint(migration, parent),
                )
