"""Releases of the model repository: one archive that is the same for the same content."""
