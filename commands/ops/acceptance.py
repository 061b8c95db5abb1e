"""The question before the first change by an identity that was guessed."""

from __future__ import annotations

from opsapp.cli.confirm import approve


def approve_identity(*needs: str) -> None:
    """Ask once whether the parts that were found by their names are right.

    :param needs: the parts that the change uses.
    :raises Conflict: one of them is missing.
    :raises Refused: the operator declined, or there is no terminal to ask on.
    """
    from opsapp.extensions import db
    from opsapp.ops import acceptance
    from opsapp.ops.subjects import this_identity

    identity = this_identity()
    for part in needs:
        identity.need(part)
    if identity.is_guessed and not acceptance.is_accepted(identity, db.session()):
        parts = acceptance.describe_identity(identity)["parts"]
        names = ", ".join(f"{part} is {value.split()[0]}" for part, value in parts.items())
        approve(
            f"Accounts are {identity.model.__name__}, guessed by names: {names}"
            " (flask ops identity). Continue with these?"
        )
