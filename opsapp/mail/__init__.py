"""Mail: messages about accounts and jobs, kept until a server has accepted them.

- ``outbox``: messages in the database, sent and tried again
- ``notices``: messages about changes of an account
- ``personal_data``: the messages about an account, for its owner
- ``backends``: SMTP and files
- ``smtputf8``: whether the server delivers to names beyond ASCII
- ``undeliverable``: such names, and the error of a message that the server refuses

Decisions: docs/decisions/mail.md
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .outbox import Message as Message
    from .outbox import keep as keep
    from .outbox import put as put

__all__ = ["Message", "keep", "put"]

__getattr__ = exports(__name__, outbox=["Message", "keep", "put"])
