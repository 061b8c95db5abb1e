"""What people change on their own accounts: password, address, second factor, codes.

The web's datastore calls these where Flask-Security would write by itself. Each
compares what is stored with what was seen when it was decided, so that two
requests at once cannot use one recovery code twice.
"""

from __future__ import annotations

from .. import signals
from ..errors import Conflict
from ..unit.work import Unit
from . import signin
from .lookup import get_user
from .sessions import carry_over


def change_password(user_id: int, hashed: str, *, unit: Unit) -> None:
    """Give the account the password behind this hash; sessions, tokens and a lock-out end."""
    with unit:
        user = get_user(str(user_id))
        signin.store_password(user, hashed, unit)
        carry_over(user, unit)
        user.forget_failed_logins()


def rehash_password(user_id: int, hashed: str, *, seen: str | None, unit: Unit) -> None:
    """Store the same password under today's parameters; nothing else changes."""
    with unit:
        user = get_user(str(user_id))
        if user.password == seen:
            user.password = hashed
            unit.record("user:password:rehash", user.reference)


def confirm(user_id: int, *, unit: Unit) -> None:
    """The address is this person's: they followed the link that was mailed there."""
    with unit:
        signin.confirm(get_user(str(user_id)), unit)


def set_second_factor(user_id: int, method: str, seed: str | None, *, unit: Unit) -> bool:
    """Ask for this second factor from now on; every other session ends.

    :param seed: the encrypted TOTP seed; None keeps the one that is there.
    :returns: whether it changed anything.
    """
    with unit:
        user = get_user(str(user_id))
        if user.tf_primary_method == method and seed in (None, user.tf_totp_secret):
            return False
        before = {"two_factor": user.tf_primary_method}
        user.tf_primary_method = method
        user.tf_totp_secret = seed or user.tf_totp_secret
        user.end_sessions()
        carry_over(user, unit)
        unit.record("user:factor:set", user.reference, before=before, after={"two_factor": method})
        unit.announce(signals.user_updated, user_id=user.id)
        unit.announce(signals.second_factor_changed, user_id=user.id, method=method)
        return True


def remove_second_factor(user_id: int, *, unit: Unit) -> bool:
    """Ask for no second factor; recovery codes go with it, and every other session ends."""
    with unit:
        user = get_user(str(user_id))
        if user.tf_primary_method is None:
            return False
        before = {"two_factor": user.tf_primary_method}
        user.forget_second_factor()
        user.end_sessions()
        carry_over(user, unit)
        unit.record("user:factor:remove", user.reference, before=before)
        unit.announce(signals.user_updated, user_id=user.id)
        unit.announce(signals.second_factor_changed, user_id=user.id, method=None)
        return True


def set_recovery_codes(user_id: int, codes: list[str], *, unit: Unit) -> None:
    """These codes, encrypted, and no others.

    :param codes: as they are stored.
    """
    with unit:
        user = get_user(str(user_id))
        before = {"recovery_codes": len(user.mf_recovery_codes or [])}
        user.mf_recovery_codes = list(codes)
        unit.record(
            "user:codes:set", user.reference, before=before, after={"recovery_codes": len(codes)}
        )
        unit.announce(signals.user_updated, user_id=user.id)
        unit.announce(signals.recovery_codes_set, user_id=user.id)


def use_recovery_code(user_id: int, code: str, *, unit: Unit) -> None:
    """Strike out a recovery code.

    :param code: as it is stored.
    :raises Conflict: it was used by somebody a moment ago.
    """
    with unit:
        user = get_user(str(user_id))
        codes = list(user.mf_recovery_codes or [])
        if code not in codes:
            raise Conflict("this recovery code was used a moment ago")
        codes.remove(code)
        before = {"recovery_codes": len(codes) + 1}
        user.mf_recovery_codes = codes
        unit.record(
            "user:codes:use", user.reference, before=before, after={"recovery_codes": len(codes)}
        )
