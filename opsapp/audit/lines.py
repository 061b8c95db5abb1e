"""Events in a line each, as people read them: ``ada granted support to grace until Fri 18:00Z``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .. import clock
from ..redaction import SET
from ..text import pluralize, safe
from ..unit.intents import PREFIX

PHRASES = {
    "user:account:create": "created {}",
    "user:account:update": "changed {}",
    "user:account:import": "imported rows {first} to {last} of {name}",
    "user:account:delete": "erased {}",
    "user:account:activate": "activated {}",
    "user:account:deactivate": "deactivated {}",
    "user:account:unlock": "unlocked {}",
    "user:password:set": "set the password of {}",
    "user:password:rehash": "rehashed the password of {}",
    "user:reset:send": "sent {} a link to set a new password",
    "user:data:export": "exported the personal data of {}",
    "user:access:reset": "reset the access of {}",
    "user:email:confirm": "confirmed the address of {}",
    "user:factor:set": "set the second factor of {}",
    "user:factor:remove": "removed the second factor of {}",
    "user:codes:set": "made recovery codes for {}",
    "user:codes:use": "used a recovery code of {}",
    "user:token:create": "created the token {token} of {}",
    "user:token:revoke": "revoked the token {token} of {}",
    "user:sessions:end": "ended sessions of {}",
    "user:logins:prune": "removed old logins",
    "user:role:grant": "granted {role} to {}",
    "user:role:revoke": "revoked {role} from {}",
    "user:role:expire": "marked {role} of {} as expired",
    "user:review:decide": "reviewed {role} of {}",
    "review:access:start": "started {}",
    "review:access:finish": "finished {}",
    "role:definition:create": "created the role {}",
    "role:definition:update": "changed the role {}",
    "role:definition:delete": "deleted the role {}",
    "role:permissions:update": "changed the permissions of the role {}",
    "job:history:prune": "removed old runs of jobs",
    "audit:chain:rebase": "declared a restored database",
    "audit:intent:fail": "failed to make an intended change",
    "audit:intent:settle": "settled an intended change",
    "audit:observer:gap": "missed changes by the application's own code",
    "audit:pending:damaged": "noticed an edited change that waited",
    "identity:accounts:accept": "accepted how accounts are read",
    "user:admin:missing": "left no administrator",
    "database:schema:upgrade": "upgraded the database",
    "database:schema:downgrade": "downgraded the database",
    "database:schema:stamp": "stamped the database",
    "database:schema:notice": "noticed another schema of the database",
    "database:backup:create": "backed up the database",
    "database:backup:fail": "failed to keep a backup of the database",
    "database:backup:restore": "restored a backup of the database",
    "database:copy:create": "copied the database",
    "database:copy:fail": "failed to commit a copy of the database",
    "console:session:open": "opened {}",
    "console:session:close": "closed {}",
    "console:session:lose": "lost {}",
    "console:changes:commit": "committed changes in {}",
    "console:query:run": "ran a query in {}",
}
"""The words for each action and its subject; other actions are shown as they are."""
_SAID = {
    "user:account:activate": "active",
    "user:account:deactivate": "active",
    "user:password:set": "password",
}
"""The value that the words of an action say."""
_IN_PHRASES = ("role", "token", "first", "last", "name")
"""The values of an event that its words name."""
_LEFT_OUT = frozenset({"ids", "digest", "fingerprint", "statement", "chain", "relation"})
"""Digests, and the relation that a role is of, which `flask audit show` has."""
_OF_IMPORTS = ("file", "done")
"""The digest of the file, and whether its end was reached."""


def line(event: Mapping[str, Any], now: datetime) -> tuple[str, str, str]:
    """Return an event's number and time, its words, and its reason, safe for a terminal."""
    at = event["at"]
    time = clock.brief(at, now) if isinstance(at, datetime) else safe(at)
    number = "–" if event["seq"] is None else str(event["seq"])
    reason = f" — {event['reason']}" if event["reason"] else ""
    words = f"{event['actor']} {_deed(event, now)}"
    return f"{number:>5}  {time:>10}", safe(words), safe(reason)


def _deed(event: Mapping[str, Any], now: datetime) -> str:
    if event["action"].startswith(PREFIX):
        change = {**event, "action": event["action"].removeprefix(PREFIX)}
        return f"intended: {_deed(change, now)}"
    before, after = _without(event["before"]), _without(event["after"])
    fields = {**before, **after}
    key = _SAID.get(event["action"], "")
    before.pop(key, None)
    after.pop(key, None)
    if event["action"] == "user:account:import":
        after = {
            key: _count_ids(after[key])
            for key in after
            if key not in _OF_IMPORTS and after[key] != 0
        }
    subject = pluralize(after.pop("count"), "user") if "count" in after else event["subject_name"]
    phrase = PHRASES.get(event["action"], f"{event['action']} {{}}")
    for name in _IN_PHRASES:
        if f"{{{name}}}" in phrase:
            phrase = phrase.replace(f"{{{name}}}", _words(fields.get(name), now).replace("{", "{{"))
            before.pop(name, None)
            after.pop(name, None)
    end = after.pop("valid_until", None)
    if end is not None:
        phrase += f" until {_words(_moment(end), now)}"
    before = {"until" if key == "valid_until" else key: before[key] for key in before}
    after = {key: value for key, value in after.items() if value != subject}
    changes = [_change(key, before, after, now) for key in {**before, **after}]
    details = f" ({', '.join(filter(None, changes))})" if any(changes) else ""
    return phrase.replace("{}", str(subject)) + details


def _count_ids(value: Any) -> Any:
    """Return numbers in place of the ids of an import, which are up to 5,000 in a batch."""
    match value:
        case [int(), *_]:
            return len(value)
        case [*parts]:
            return [_count_ids(part) for part in parts]
        case {"role": role, "holders": [*users]}:
            return f"{role}={len(users)}"
    return value


def _without(side: Any) -> dict[str, Any]:
    if not isinstance(side, Mapping):
        return {}
    return {key: value for key, value in side.items() if key not in _LEFT_OUT}


def _change(key: str, before: Mapping[str, Any], after: Mapping[str, Any], now: datetime) -> str:
    """Return ``email: a → b``, ``email: b`` for a new value, ``email was a`` for a lost one."""
    if isinstance(before.get(key), list) and isinstance(after.get(key), list):
        return " ".join([key, *_list_change(before[key], after[key])])
    old, new = (_words(_moment(side.get(key)), now) for side in (before, after))
    if key not in before:
        return f"{key}: {new}" if new else ""
    if key not in after:
        return f"{key} was {old}" if old else ""
    if old == new:  # Of a secret nothing else is written, so its change has two equal sides.
        return f"{key} changed" if new == SET else ""
    return f"{key}: {old or 'none'} → {new or 'none'}"


def _list_change(old: list[Any], new: list[Any]) -> list[str]:
    removals = [f"-{item}" for item in old if item not in new]
    return [f"+{item}" for item in new if item not in old] + removals


def _moment(value: Any) -> Any:
    """Return a time for the text of one in UTC, as events have it."""
    if not (isinstance(value, str) and value.endswith("Z") and value[:4].isdigit()):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return value


def _words(value: Any, now: datetime) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return clock.brief(value, now)
        case list() | tuple():
            return " ".join(_words(item, now) for item in value)
        case Mapping():
            return " ".join(f"{key}={_words(item, now)}" for key, item in value.items())
    return str(value)
