"""Beside Flask-SQLAlchemy 3.0, which takes no declarative base for its models."""

from __future__ import annotations

import subprocess
import sys

OLD = """
import flask_sqlalchemy

class SQLAlchemy(flask_sqlalchemy.SQLAlchemy):
    def __init__(self, app=None, *, metadata=None, session_options=None, model_class=None):
        assert model_class is None, "a declarative base is mapped twice"
        super().__init__(app, metadata=metadata, session_options=session_options)

flask_sqlalchemy.SQLAlchemy = SQLAlchemy
from opsapp.extensions import Base, Model, db
from opsapp.models import AuditEvent
assert issubclass(AuditEvent, Model) and Model is Base
assert db.metadatas[None] is Base.metadata
print(AuditEvent.__table__.name)
"""


def test_models_have_a_base_of_their_own() -> None:
    done = subprocess.run([sys.executable, "-c", OLD], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ops_audit_events\n", "")
