"""The invocation of a job: command, options, actor, and the variables of the command."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..actors import Actor
from ..errors import Invalid
from ..extensions import db, this_app
from ..redaction import redact_words, secret_values
from ..settings import SETTINGS, config
from .process import MARK
from .runs import Start
from .schedule import Job, Options, check_name, get_job


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A command to run as a job, with its options and its actor."""

    name: str
    command: tuple[str, ...]
    options: Options
    actor: Actor
    slot: datetime | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables by which the command finds the application of this process."""
    correlation: str = field(default_factory=lambda: str(uuid4()))

    def start(self) -> Start:
        """Return the record of the run's beginning, without secrets."""
        return Start(
            name=self.name,
            command=redact_words(self.command, secrets_in(self.variables(None))),
            actor=self.actor,
            pid=os.getpid(),
            correlation=self.correlation,
            slot=self.slot,
        )

    def variables(self, run_id: int | None) -> dict[str, str]:
        """Return the command's environment: ours, with the programs beside our Python first."""
        programs = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "OPSAPP_INSTANCE": str(config.instance_folder()),
            "OPSAPP_JOB": self.name,
            "OPSAPP_JOB_RUN": str(run_id or ""),
            **self.environ,
            **self.options.env,
            MARK: self.correlation,
        }

    def argv(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """Return the command, with its program looked up on the PATH of ``variables``."""
        program = shutil.which(self.command[0], path=variables["PATH"])
        return (program or self.command[0], *self.command[1:])


def invocation(
    name: str,
    command: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    actor: Actor,
    file: Path | None = None,
    slot: datetime | None = None,
    environ: Mapping[str, str] | None = None,
) -> Invocation:
    """Return the invocation of ``command``, or without one of the job's command in `jobs.toml`.

    :param overrides: fields of :class:`Options` that replace those of `jobs.toml`; variables
        in ``env`` are added to its own.
    :param file: a schedule to read instead of the configured one.
    :raises Invalid: the name is not a job's, or the command has no program.
    :raises NotFound: there is no such job in `jobs.toml`.
    """
    job = _job(check_name(name), tuple(command), file)
    changes = dict(overrides or {})
    changes["env"] = {**job.options.env, **changes.get("env", {})}
    return Invocation(
        name=job.name,
        command=job.command,
        options=replace(job.options, **changes),
        actor=actor,
        slot=slot,
        environ=environ or {},
    )


def _job(name: str, command: tuple[str, ...], file: Path | None) -> Job:
    if not command:
        return get_job(name, file)
    if not command[0]:
        raise Invalid("COMMAND names no program: its first word is empty")
    return Job(name=name, command=command, options=Options())


def secrets_in(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secrets to redact: our settings, and variables with telling names."""
    settings = this_app().config
    values = [settings.get(setting.name) for setting in SETTINGS if setting.secret]
    return secret_values(variables, [*values, db.engine.url.password, db.our_engine.url.password])
