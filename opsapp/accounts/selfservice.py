"""Changes that users make to their own accounts: password, address, second factor, codes.

The web's datastore calls these where Flask-Security would write by itself. Each compares
the stored value with the one that the request saw, so two requests at once cannot both
use one recovery code.

docs/decisions/web.md#flask-security-writes-through-our-services
"""

from __future__ import annotations

from typing import Any

from .. import signals
from ..errors import Conflict
from ..models.types import canonical_json
from ..unit.ledger import fingerprint
from ..unit.work import Unit
from . import lockouts, signin
from .effects import end_sessions
from .lookup import get_user
from .sessions import carry_over


def change_password(user_id: int, hashed: str, *, unit: Unit) -> None:
    """Store the hash of a new password; end sessions, tokens and a lockout."""
    with unit:
        user = get_user(str(user_id))
        signin.store_password(user, hashed, unit)
        carry_over(user, unit)
        lockouts.forget(user, unit)


def recover(user_id: int, hashed: str, *, unit: Unit) -> None:
    """Store the hash of a password that was set by a mailed link, which proves the address."""
    with unit:
        change_password(user_id, hashed, unit=unit)
        signin.confirm(get_user(str(user_id)), unit)


def rehash_password(user_id: int, hashed: str, *, before: str | None, unit: Unit) -> None:
    """Store the same password under the present parameters, unless it has changed."""
    with unit:
        user = get_user(str(user_id))
        if user.password == before:
            user.password = hashed
            after = {"fingerprint": fingerprint(hashed)}
            unit.record("user:password:rehash", user.reference, after=after)


def set_second_factor(
    user_id: int, method: str, seed: str | None, *, counter: int | None = None, unit: Unit
) -> bool:
    """Require this second factor from now on, and end every other session.

    :param seed: the encrypted TOTP seed; None keeps the stored one.
    :param counter: the time step of the code that proved a new seed.
    :returns: whether it changed anything.
    """
    with unit:
        user = get_user(str(user_id))
        if user.tf_primary_method == method and seed in (None, user.tf_totp_secret):
            return False
        before = {"two_factor": user.tf_primary_method}
        user.tf_primary_method = method
        if seed not in (None, user.tf_totp_secret):
            user.tf_totp_secret, user.tf_last_counter = seed, counter
        end_sessions(user, unit)
        carry_over(user, unit)
        after = {"two_factor": method, "fingerprint": fingerprint(user.tf_totp_secret)}
        unit.record("user:factor:set", user.reference, before=before, after=after)
        unit.announce(signals.user_updated, user_id=user.id)
        unit.announce(signals.second_factor_changed, user_id=user.id, method=method)
        return True


def remove_second_factor(user_id: int, *, unit: Unit) -> bool:
    """Remove the second factor and its recovery codes, and end every other session."""
    with unit:
        user = get_user(str(user_id))
        if user.tf_primary_method is None:
            return False
        before = {"two_factor": user.tf_primary_method}
        user.forget_second_factor()
        end_sessions(user, unit)
        carry_over(user, unit)
        unit.record("user:factor:remove", user.reference, before=before)
        unit.announce(signals.user_updated, user_id=user.id)
        unit.announce(signals.second_factor_changed, user_id=user.id, method=None)
        return True


def set_recovery_codes(user_id: int, codes: list[str], *, unit: Unit) -> None:
    """Replace the recovery codes.

    :param codes: the keyed hashes of the codes.
    """
    with unit:
        user = get_user(str(user_id))
        before = {"recovery_codes": len(user.mf_recovery_codes or [])}
        user.mf_recovery_codes = list(codes)
        unit.record("user:codes:set", user.reference, before=before, after=_codes(codes))
        unit.announce(signals.user_updated, user_id=user.id)
        unit.announce(signals.recovery_codes_set, user_id=user.id)


def use_recovery_code(user_id: int, code: str, *, unit: Unit) -> None:
    """Use up a recovery code.

    :param code: the keyed hash of the code.
    :raises Conflict: another request has used it.
    """
    with unit:
        user = get_user(str(user_id))
        codes = list(user.mf_recovery_codes or [])
        if code not in codes:
            raise Conflict("this recovery code was used a moment ago")
        codes.remove(code)
        before = {"recovery_codes": len(codes) + 1}
        user.mf_recovery_codes = codes
        unit.record("user:codes:use", user.reference, before=before, after=_codes(codes))
        unit.announce(signals.recovery_code_used, user_id=user.id, codes_left=len(codes))


def _codes(codes: list[str]) -> dict[str, Any]:
    return {"recovery_codes": len(codes), "fingerprint": fingerprint(canonical_json(codes))}
