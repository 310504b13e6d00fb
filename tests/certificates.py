"""Certificates for tests: a CA of the test's own, and what it signs, as the files that brokers and clients read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Authority:
    """A CA, or with `parent` one below another. `file` is its certificate, in `folder` like everything it signs."""

    def __init__(self, folder: Path, name: str = "ca", *, parent: Authority | None = None) -> None:
        self._folder = folder
        self._ca = trustme.CA() if parent is None else parent._ca.create_child_ca()
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *hosts: str, expired: bool = False, password: str = "") -> Path:
        """PEM file `name`: a key (PKCS#8, encrypted with `password` where given) and a certificate for `hosts`."""
        not_after = datetime.now(UTC) - timedelta(days=1) if expired else None
        made = self._ca.issue_cert(*hosts, not_after=not_after)
        # Kafka reads keys in this form only; trustme writes them in another.
        key = load_pem_private_key(made.private_key_pem.bytes(), password=None).private_bytes(
            Encoding.PEM,
            PrivateFormat.PKCS8,
            BestAvailableEncryption(password.encode()) if password else NoEncryption(),
        )
        file = self._folder / f"{name}.pem"
        file.write_bytes(key + b"".join(part.bytes() for part in made.cert_chain_pems))
        return file
