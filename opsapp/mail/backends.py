"""How mail leaves: Flask-Mailman's backends, with certificates checked and files private."""

from __future__ import annotations

import os
import smtplib
import ssl
from email import message_from_bytes, policy
from email.utils import parseaddr
from typing import Any

from flask_mailman.backends.file import EmailBackend as FileBackend
from flask_mailman.backends.smtp import EmailBackend as SMTPBackend

NO_UTF8 = "the mail server does not offer SMTPUTF8, which this address needs"


class UndeliverableError(Exception):
    """The server will never take this message."""


class VerifyingSMTP(smtplib.SMTP):
    """SMTP whose STARTTLS checks the server's certificate; Python's own does not."""

    def starttls(self, *args: Any, **options: Any) -> Any:
        options["context"] = options.get("context") or ssl.create_default_context()
        return super().starttls(*args, **options)


class SMTPEmailBackend(SMTPBackend):
    """Named by ``MAIL_BACKEND``."""

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        """TLS from the first byte, or STARTTLS; both verify."""
        return smtplib.SMTP_SSL if self.use_ssl else VerifyingSMTP

    def _send(self, email_message: Any) -> bool:
        """Hand a message over; a name beyond ASCII in an address needs SMTPUTF8.

        Flask-Mailman would write it as an encoded word, which is another mailbox.

        :raises UndeliverableError: the server does not offer it.
        """
        sender, recipients = email_message.from_email, email_message.recipients()
        names = (parseaddr(str(one))[1].rpartition("@")[0] for one in (sender, *recipients))
        if all(map(str.isascii, names)):
            return bool(super()._send(email_message))
        message = message_from_bytes(email_message.message().as_bytes(), policy=policy.SMTPUTF8)
        for header, addresses in (("From", sender), ("To", ", ".join(email_message.to))):
            del message[header]
            message[header] = addresses
        try:
            self.connection.send_message(message, to_addrs=recipients)
        except smtplib.SMTPNotSupportedError as error:
            raise UndeliverableError(NO_UTF8) from error
        return True


class FileEmailBackend(FileBackend):
    """Messages as files of the instance folder: a link in one may sign somebody in."""

    def open(self) -> bool:
        """Open the message's file so that its owner alone can read it."""
        if self.stream is not None:
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        os.chmod(self.file_path, 0o700)  # noqa: PTH101  (a string of the package's)
        self.stream: Any = os.fdopen(os.open(self._get_filename(), flags, 0o600), "wb")
        return True
