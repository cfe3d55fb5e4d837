"""Signatures of archives, by the OpenSSF's model-signing and a key of one's own."""

from __future__ import annotations

from pathlib import Path

import model_signing

from deploy.release.archive import ReleaseError


def path_of(archive: Path) -> Path:
    """Where the signature of an archive lies: beside it."""
    return archive.with_name(f"{archive.name}.sig")


def sign(archive: Path, private_key: Path) -> Path:
    """Sign an archive with an elliptic curve's private key (PEM); return the signature's path.

    Raises
    ------
    ReleaseError
        If the archive or the key cannot be read.
    """
    signature = path_of(archive)
    try:
        signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=private_key)
        signer.sign(archive, signature)
    except (ValueError, OSError) as error:
        raise ReleaseError(f"{archive} cannot be signed with {private_key}: {error}") from error
    return signature


def verify(archive: Path, public_key: Path) -> None:
    """Check that the signature beside an archive is the key's, and of these bytes.

    Raises
    ------
    ReleaseError
        If it is not, or the key cannot be read.
    """
    if not public_key.is_file():
        raise ReleaseError(f"There is no public key {public_key}.")
    try:
        verifier = model_signing.verifying.Config()
        verifier.use_elliptic_key_verifier(public_key=public_key)
    except ValueError as error:
        raise ReleaseError(f"{public_key} is not a public key in PEM.") from error
    try:
        verifier.verify(archive, path_of(archive))
    # Of a damaged signature the library raises whatever its parsing meets.
    except Exception as error:
        raise ReleaseError(
            f"{archive.name} is not signed with {public_key}: {str(error).splitlines()[0]}"
        ) from error
