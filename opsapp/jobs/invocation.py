"""What is to be run as a job: the command, for whom, and the variables that it finds."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from .. import config
from ..actors import Actor
from ..extensions import db, this_app
from ..redaction import redacted_words, secret_values
from ..settings import SETTINGS
from .process import MARK
from .runs import Start
from .schedule import Job, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run, for whom, and how."""

    name: str
    command: tuple[str, ...]
    options: Options
    actor: Actor
    slot: datetime | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    """What the command needs to find the application that we were called for."""
    correlation: str = field(default_factory=lambda: str(uuid4()))

    def start(self) -> Start:
        """What is written before it runs, without secrets."""
        return Start(
            name=self.name,
            command=redacted_words(self.command, secrets_in(self.variables(None))),
            actor=self.actor,
            pid=os.getpid(),
            correlation=self.correlation,
            slot=self.slot,
        )

    def variables(self, run_id: int | None) -> dict[str, str]:
        """What the command finds: our variables, with the programs beside our Python first."""
        beside = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "OPSAPP_INSTANCE": str(config.instance_folder()),
            "OPSAPP_JOB": self.name,
            "OPSAPP_JOB_RUN": str(run_id or ""),
            **self.environ,
            **self.options.env,
            MARK: self.correlation,
        }

    def argv(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """The command with its program found on the PATH that it will have."""
        program = shutil.which(self.command[0], path=variables["PATH"])
        return (program or self.command[0], *self.command[1:])


def order_of(job: Job, *, actor: Actor, slot: datetime | None, environ: Mapping[str, str]) -> Order:
    """The order to run a job as `jobs.toml` says."""
    return Order(
        name=job.name,
        command=job.command,
        options=job.options,
        actor=actor,
        slot=slot,
        environ=environ,
    )


def secrets_in(variables: Mapping[str, str]) -> tuple[str, ...]:
    """What must not be written down: our secret settings, and variables with telling names."""
    settings = this_app().config
    names = [one.name for one in SETTINGS if one.secret]
    known = [settings.get(name) for name in names]
    return secret_values(variables, [*known, db.engine.url.password])
