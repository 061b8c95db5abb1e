"""Mail backends: those of Flask-Mailman, with verified certificates and private files."""

from __future__ import annotations

import os
import smtplib
import ssl
from email import message_from_bytes, policy
from typing import Any

from flask_mailman.backends.file import EmailBackend as FileBackend
from flask_mailman.backends.smtp import EmailBackend as SMTPBackend

from .undeliverable import NO_UTF8, SENDER_NEEDS_UTF8, UndeliverableError, is_plain


class VerifyingSMTP(smtplib.SMTP):
    """SMTP with a verified certificate in STARTTLS, which Python does not verify."""

    def starttls(self, *args: Any, **options: Any) -> Any:
        options["context"] = options.get("context") or ssl.create_default_context()
        return super().starttls(*args, **options)


class SMTPEmailBackend(SMTPBackend):
    """The SMTP backend, named by ``MAIL_BACKEND``."""

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        """The class for TLS from the first byte, or for STARTTLS; both verify."""
        return smtplib.SMTP_SSL if self.use_ssl else VerifyingSMTP

    def offers_utf8(self) -> bool:
        """Return whether the server offers SMTPUTF8, over a connection as for sending.

        :raises OSError: it cannot be reached, or refuses to sign in.
        """
        with self:
            connection: smtplib.SMTP = self.connection
            connection.ehlo_or_helo_if_needed()
            return connection.has_extn("smtputf8")

    def _send(self, email_message: Any) -> bool:
        """Send a message; an address with a name beyond ASCII needs SMTPUTF8.

        Flask-Mailman would write it as an encoded word, which is another mailbox.

        :raises UndeliverableError: the server does not offer it.
        """
        sender, recipients = email_message.from_email, email_message.recipients()
        if all(map(is_plain, (sender, *recipients))):
            return bool(super()._send(email_message))
        message = message_from_bytes(email_message.message().as_bytes(), policy=policy.SMTPUTF8)
        for header, addresses in (("From", sender), ("To", ", ".join(email_message.to))):
            del message[header]
            message[header] = addresses
        try:
            self.connection.send_message(message, to_addrs=recipients)
        except smtplib.SMTPNotSupportedError as error:
            if is_plain(sender):
                raise UndeliverableError(NO_UTF8) from error
            raise UndeliverableError(SENDER_NEEDS_UTF8, is_final=False) from error
        return True


class FileEmailBackend(FileBackend):
    """Messages as private files of the instance folder: a link in one may sign a user in."""

    def open(self) -> bool:
        """Open the message's file, readable by its owner alone."""
        if self.stream is not None:
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        os.chmod(self.file_path, 0o700)  # noqa: PTH101  (a string of the package's)
        self.stream: Any = os.fdopen(os.open(self._get_filename(), flags, 0o600), "wb")
        return True
