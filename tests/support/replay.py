"""The tables, built again from the audit's events alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any


class Replay:
    """The accounts, roles and grants that follow from the audit's events alone."""

    def __init__(self, events: list[tuple[Any, ...]]) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.roles: dict[str, dict[str, Any]] = {}
        self.held: dict[tuple[str, str], str | None] = {}
        """The end of each open grant, by account and role."""
        self.tokens: dict[tuple[str, str], str] = {}
        """The fingerprint of each token that no event ended, by account and name."""
        for action, subject, before, after in events:
            tell: Callable[..., None] = getattr(self, action.replace(":", "_"))
            was, became = json.loads(before or "{}"), json.loads(after or "{}")
            for one in self._of_batch(became) if "digest" in became else [subject]:
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

    def user_account_import(self, subject: str, before: Any, after: Any) -> None:
        ids = after.get("ids", [])
        assert after["created"] == len(ids) == len(set(ids))
        for id, password in zip(ids, after.get("passwords", [None] * len(ids)), strict=True):
            assert f"user:{id}" not in self.accounts
            active = id not in after.get("inactive", ())
            self.accounts[f"user:{id}"] = {"active": active, "password": password is not None}
        for gift in after.get("roles", ()):
            for id in gift["holders"]:
                self.held[f"user:{id}", self._role(gift["role"])] = gift["valid_until"]

    def user_account_update(self, subject: str, before: Any, after: Any) -> None:
        assert before.keys() == after.keys() <= {"email", "username"}
        assert subject in self.accounts
        if "email" in after:
            self._end_tokens(subject)

    def user_account_activate(self, subject: str, before: Any, after: Any) -> None:
        assert (before, after) == ({"active": False}, {"active": True})
        self._set_active(subject, True)

    def user_account_deactivate(self, subject: str, before: Any, after: Any) -> None:
        assert (before, after) == ({"active": True}, {"active": False})
        self._set_active(subject, False)

    def _set_active(self, subject: str, active: bool) -> None:
        assert self.accounts[subject]["active"] is not active
        self.accounts[subject]["active"] = active
        self._end_tokens(subject)

    def user_password_set(self, subject: str, before: Any, after: Any) -> None:
        had = "set" if self.accounts[subject]["password"] else None
        assert before == {"password": had}
        assert after == {"password": "set", "fingerprint": after["fingerprint"]}
        self.accounts[subject]["password"] = True
        self._end_tokens(subject)

    def user_account_delete(self, subject: str, before: Any, after: Any) -> None:
        del self.accounts[subject]
        held = {role for user, role in self.held if user == subject}
        assert before == {"roles": sorted(self.roles[role]["name"] for role in held)}
        assert after == {"roles": []}
        for role in held:
            del self.held[subject, role]
        self._end_tokens(subject)

    def user_role_grant(self, subject: str, before: Any, after: Any) -> None:
        assert subject in self.accounts
        self.held[subject, self._role(after["role"])] = after["valid_until"]

    def user_role_revoke(self, subject: str, before: Any, after: Any) -> None:
        del self.held[subject, self._role(before["role"])]

        self._end_tokens(subject)

    def user_role_expire(self, subject: str, before: Any, after: Any) -> None:
        del self.held[subject, self._role(before["role"])]

    def user_token_create(self, subject: str, before: Any, after: Any) -> None:
        assert self.accounts[subject]["active"]
        self.tokens[subject, after["token"]] = after["fingerprint"]

    def user_token_revoke(self, subject: str, before: Any, after: Any) -> None:
        del self.tokens[subject, before["token"]]

    def _end_tokens(self, subject: str) -> None:
        for owner, name in list(self.tokens):
            if owner == subject:
                del self.tokens[owner, name]

    def user_access_reset(self, subject: str, before: Any, after: Any) -> None:
        assert after == {"two_factor": None, "recovery_codes": 0, "sessions": "none"}
        self._end_tokens(subject)

    def user_factor_set(self, subject: str, before: Any, after: Any) -> None:
        self._end_tokens(subject)

    user_factor_remove = user_factor_set

    def user_sessions_end(self, subject: str, before: Any, after: Any) -> None:
        assert subject in self.accounts
        assert before["sessions"] == "all" or before["sessions"]

    def user_logins_prune(self, subject: str, before: Any, after: Any) -> None:
        assert any(after[table] for table in ("logins", "sessions"))
