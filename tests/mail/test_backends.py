"""Mail leaves over TLS, to a server whose certificate fits, or to files of its owner."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opsapp import clock
from tests.support import Cli, Database, Result
from tests.support.post import Office, post_office

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

GRACE = "grace@example.com"
DONE = "Done, audit event 3.\n"
WAITS = f"{DONE}1 message waits: flask mail send-pending.\n"


def make(cli: Cli) -> Result:
    """Create an account, which writes a message."""
    return cli("users", "create", GRACE, "--no-password")


def error(cli: Cli) -> str:
    """Why the one message of the outbox waits."""
    (kept,) = cli("mail", "list", "--pending", "--format", "json", check=True).json
    return str(kept["error"])


# --- TLS ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(days=1))
        .not_valid_after(clock.now() + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        # Without these a strict client would not trust it, even where it is told to.
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    return file


@pytest.fixture(params=["MAIL_USE_TLS", "MAIL_USE_SSL"])
def encrypted(
    cli: Cli, certificate: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    """A mail server with that certificate: TLS by STARTTLS, or from the first byte."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    option = "tls_context" if request.param == "MAIL_USE_TLS" else "ssl_context"
    monkeypatch.setenv(request.param, "on")
    with post_office(monkeypatch, **{option: context}) as office:
        yield office


def test_server_with_an_untrusted_certificate_gets_nothing(cli: Cli, encrypted: Office) -> None:
    done = make(cli)
    assert (done.exit_code, done.stderr) == (0, WAITS)
    assert encrypted.recipients == []
    assert error(cli).startswith("SSLCertVerificationError: ")


def test_server_whose_certificate_is_trusted_gets_the_message(
    cli: Cli, encrypted: Office, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert make(cli).stderr == DONE
    assert encrypted.recipients == [GRACE]


def test_server_without_starttls_gets_nothing_in_clear(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_USE_TLS", "on")
    with post_office(monkeypatch) as office:
        assert make(cli).stderr == WAITS
    assert office.recipients == []
    assert error(cli).startswith("SMTPNotSupportedError: STARTTLS")


# --- files ---------------------------------------------------------------------


def test_development_writes_files_that_others_cannot_read(cli: Cli, database: Database) -> None:
    folder = database.instance / "mail"
    folder.mkdir(mode=0o755)
    before = os.umask(0)  # The modes are ours, and not a careful umask's.
    try:
        assert make(cli).stderr == DONE
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, file)] == [0o700, 0o600]
    assert f"To: {GRACE}\n" in file.read_text()
    assert cli("mail", "list", "--fields", "state").stdout == "state\nsent\n"
