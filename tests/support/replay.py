"""The tables, built again from the audit's events alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any


class Replay:
    """What there is, if the audit's events are all that one knows."""

    def __init__(self, events: list[tuple[Any, ...]]) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.roles: dict[str, dict[str, Any]] = {}
        self.held: dict[tuple[str, str], str | None] = {}
        """The end of each open grant, by account and role."""
        for action, subject, before, after in events:
            tell: Callable[..., None] = getattr(self, action.replace(":", "_"))
            was, became = json.loads(before or "{}"), json.loads(after or "{}")
            for one in self._of_batch(became) if subject == "users" else [subject]:
                tell(one, was, became)

    def _of_batch(self, became: dict[str, Any]) -> list[str]:
        ids = became.pop("ids")
        listed = ",".join(map(str, ids)).encode()
        assert became.pop("count") == len(ids)
        assert became.pop("digest") == hashlib.sha256(listed).hexdigest()
        return [f"user:{id}" for id in ids]

    def _role(self, name: str) -> str:
        [found] = [id for id, role in self.roles.items() if role["name"] == name]
        return found

    def role_definition_create(self, subject: str, before: Any, after: Any) -> None:
        assert subject not in self.roles
        self.roles[subject] = {"name": after["name"], "permissions": after.get("permissions", [])}

    def role_definition_update(self, subject: str, before: Any, after: Any) -> None:
        assert before["name"] == self.roles[subject]["name"]
        self.roles[subject]["name"] = after["name"]

    def role_permissions_update(self, subject: str, before: Any, after: Any) -> None:
        assert before["permissions"] == self.roles[subject]["permissions"]
        self.roles[subject]["permissions"] = after["permissions"]

    def role_definition_delete(self, subject: str, before: Any, after: Any) -> None:
        assert before == self.roles.pop(subject)
        assert subject not in {role for _, role in self.held}

    def user_account_create(self, subject: str, before: Any, after: Any) -> None:
        assert subject not in self.accounts
        self.accounts[subject] = {"active": True, "password": after["password"] == "set"}

    def user_account_update(self, subject: str, before: Any, after: Any) -> None:
        assert before.keys() == after.keys() <= {"email", "username"}
        assert subject in self.accounts

    def user_account_activate(self, subject: str, before: Any, after: Any) -> None:
        assert (before, after) == ({"active": False}, {"active": True})
        self._set_active(subject, True)

    def user_account_deactivate(self, subject: str, before: Any, after: Any) -> None:
        assert (before, after) == ({"active": True}, {"active": False})
        self._set_active(subject, False)

    def _set_active(self, subject: str, active: bool) -> None:
        assert self.accounts[subject]["active"] is not active
        self.accounts[subject]["active"] = active

    def user_password_set(self, subject: str, before: Any, after: Any) -> None:
        had = "set" if self.accounts[subject]["password"] else None
        assert before == {"password": had}
        assert after == {"password": "set", "fingerprint": after["fingerprint"]}
        self.accounts[subject]["password"] = True

    def user_account_delete(self, subject: str, before: Any, after: Any) -> None:
        del self.accounts[subject]
        held = {role for user, role in self.held if user == subject}
        assert before == {"roles": sorted(self.roles[role]["name"] for role in held)}
        assert after == {"roles": []}
        for role in held:
            del self.held[subject, role]

    def user_role_grant(self, subject: str, before: Any, after: Any) -> None:
        assert subject in self.accounts
        self.held[subject, self._role(after["role"])] = after["valid_until"]

    def user_role_revoke(self, subject: str, before: Any, after: Any) -> None:
        del self.held[subject, self._role(before["role"])]

    user_role_expire = user_role_revoke
