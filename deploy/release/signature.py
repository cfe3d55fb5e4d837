"""Sign archives and verify their signatures, with OpenSSF's model-signing and your own key."""

from __future__ import annotations

from pathlib import Path

import model_signing

from deploy.release.archive import ReleaseError


def path_of(archive: Path) -> Path:
    """Path of an archive's signature, which is next to it."""
    return archive.with_name(f"{archive.name}.sig")


def sign(archive: Path, private_key: Path) -> Path:
    """Sign an archive with an elliptic curve private key (PEM); return the signature's path.

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
    """Check that the signature next to an archive was made with this key and for these bytes.

    Raises
    ------
    ReleaseError
        If it was not, or the key cannot be read.
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
    # For a damaged signature the library raises whatever its parser runs into.
    except Exception as error:
        raise ReleaseError(
            f"{archive.name} is not signed with {public_key}: {str(error).splitlines()[0]}"
        ) from error
