"""How mail leaves: Flask-Mailman's backends, with certificates checked and files private."""

from __future__ import annotations

import os
import smtplib
import ssl
from typing import Any

from flask_mailman.backends.file import EmailBackend as FileBackend
from flask_mailman.backends.smtp import EmailBackend as SMTPBackend


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
