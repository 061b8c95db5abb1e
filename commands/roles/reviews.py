"""`flask roles review`: access reviews."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from opsapp import clock, text
from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes
from opsapp.cli.messages import say
from opsapp.cli.options import ID, NEW_FILE, ROLE, end_options, ending, users_argument
from opsapp.errors import Invalid
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

REVIEW = ("id", "state", "roles", "grants", "undecided", "revoke", "due_at", "started_by")
REVIEW_FIELDS = (
    "id", "state", "roles", "grants", "undecided", "keep", "revoke", "started_at", "started_by",
    "due_at", "finished_at", "finished_by", "reason",
)  # fmt: skip
ITEM = (
    *("user", "role", "decision", "status", "last_login_at", "last_seen_at", "two_factor"),
    *("granted_at", "granted_by", "valid_until", "reason"),
)
ITEM_FIELDS = (
    "user_id", "user", "status", "two_factor", "role", "granted_at", "granted_by", "reason",
    "valid_until", "last_login_at", "last_seen_at", "decision", "decided_at", "decided_by",
    "decision_reason", "state", "ended_at",
)  # fmt: skip
DUE = timedelta(days=14)


@click.group("review", cls=OpsGroup)
def cli() -> None:
    """Review grants, and revoke those no longer needed.

    A review lists the grants of a moment. Each is decided, with a reason, and the refused
    ones are revoked together.
    """


@cli.command("start")
@click.option("--role", "roles", type=ROLE, multiple=True, help="Only this role; can be repeated.")
@end_options("the review", "; without it, after 14 days")
@changes(*REVIEW)
def start_cmd(
    roles: tuple[str, ...], for_: timedelta | None, until: datetime | None, unit: Unit
) -> Record:
    """Start a review of the live grants.

    Once it is overdue, `flask doctor` says so. An open review of the same roles goes on.

    \b
    Example:
      flask roles review start --role admin --role support --until 2030-06-30
    """
    from opsapp.accounts import reviews

    return reviews.start(roles, due=ending(for_, until) or clock.now() + DUE, unit=unit)


@cli.command("list")
@answers(*REVIEW, fields=REVIEW_FIELDS, noun="reviews")
def list_cmd() -> list[Record]:
    """List the reviews, the newest first.

    A review is open, overdue or finished.

    \b
    Example:
      flask roles review list
    """
    from opsapp.accounts import reviews

    return reviews.listing()


@cli.command("show")
@click.argument("review", type=ID)
@click.option("--undecided", is_flag=True, help="Only grants that are not decided yet.")
@answers(*ITEM, fields=ITEM_FIELDS, noun="grants")
def show_cmd(review: int, undecided: bool) -> list[Record]:
    """List the grants of a review.

    Each with its holder, start, end, actor and reason, the status and second factor of the
    account now, and the decision. last_login_at and last_seen_at, a later use of a session or
    token, are those of the start of the review.

    \b
    Example:
      flask roles review show 1 --undecided
    """
    from opsapp.accounts import reviews

    return reviews.items(review, undecided=undecided)


@cli.command("decide")
@click.argument("review", type=ID)
@click.argument("decision", type=click.Choice(["keep", "revoke"]))
@users_argument(required=False)
@click.option("--role", type=ROLE, help="Only grants of this role.")
@click.option("--undecided", is_flag=True, help="Every grant that is undecided, instead of USER.")
@changes("changed", "user", "role", "decision", key="user_id")
def decide_cmd(
    review: int,
    decision: str,
    users: tuple[str, ...],
    role: str | None,
    undecided: bool,
    unit: Unit,
) -> list[Record]:
    """Keep grants, or have them revoked at the end.

    Until then another decision replaces it. The audit log keeps each with its author and its
    --reason. Pass - as USER to read the accounts from stdin.

    \b
    Examples:
      flask roles review decide 1 revoke bob@example.com --role support --reason "moved on"
      flask roles review decide 1 keep --undecided --role support
    """
    from opsapp.accounts import reviews

    if bool(users) == undecided:
        raise Invalid("name the users, or decide what is left by --undecided")
    return reviews.decide(review, decision, users, role=role, undecided=undecided, unit=unit)


@cli.command("finish")
@click.argument("review", type=ID)
@click.option("--revoke-undecided", is_flag=True, help="Also revoke what is undecided.")
@changes(*REVIEW, destructive=True)
def finish_cmd(review: int, revoke_undecided: bool, unit: Unit) -> Record:
    """Finish a review, and revoke what was refused.

    Grants that are undecided stay, unless --revoke-undecided. The last administrator cannot
    lose the role admin.

    \b
    Example:
      flask roles review finish 1 --reason "second quarter" --yes
    """
    from opsapp.accounts import reviews

    before = reviews.record(reviews.get(review))
    if before["state"] != "finished":
        count = reviews.to_revoke(review, revoke_undecided=revoke_undecided)
        if before["undecided"] and not revoke_undecided:
            say(f"{before['undecided']:,} undecided stay; --revoke-undecided revokes them.")
        grants = text.pluralize(count, "grant")
        approve(f"Revoke {grants} and finish review {review}?", severe=True)
    return reviews.finish(review, revoke_undecided=revoke_undecided, unit=unit)


@cli.command("export")
@click.argument("review", type=ID)
@click.option("--html", type=NEW_FILE, metavar="FILE", help="Write a page to print instead.")
@answers(fields=ITEM_FIELDS)
def export_cmd(review: int, html: str | None) -> Any:
    """Print a review with every field, for an auditor.

    With --html, write a page that needs no other file: the review, its counts, and each
    decision with its author and reason.

    \b
    Examples:
      flask roles review export 1 --format csv > review-1.csv
      flask roles review export 1 --html review-1.html
    """
    from opsapp.accounts import review_page, reviews

    return reviews.items(review) if html is None else review_page.write(html, review)
