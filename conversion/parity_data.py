"""The parity tiles and the SavedModel's outputs on them, as a file.

As part of the model repository (``engine.parity.npz``) it lets a host with neither the SavedModel
nor TensorFlow check the engine that it has built.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Self

import instances
import numpy as np

from conversion.errors import ConversionError
from conversion.model_io import COMPARED
from conversion.parity import Served, Tolerance
from conversion.runtimes import Outputs


@dataclass(frozen=True)
class ParityData:
    """The answers that every form of a network must give.

    Attributes
    ----------
    images
        uint8 [N, 256, 256, 3].
    outputs
        The SavedModel's outputs.
    tolerance
        How far other outputs may be from them.
    served
        How they become nuclei.
    """

    images: np.ndarray
    outputs: Outputs
    tolerance: Tolerance
    served: Served

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises
        ------
        ConversionError
            If it is missing or broken.
        """
        try:
            with np.load(path) as file:
                outputs = {name: file[name] for name in COMPARED}
                tolerance = Tolerance(*file["tolerance"].tolist())
                parameters = instances.Parameters(**json.loads(str(file["parameters"])))
                served = Served(parameters, tuple(file["classes"].tolist()))
                return cls(file["images"], outputs, tolerance, served)
        except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ConversionError(f"{path} cannot be read: run `make convert`.") from error

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            images=self.images,
            tolerance=np.array(astuple(self.tolerance)),
            parameters=np.array(json.dumps(asdict(self.served.parameters))),
            classes=np.array(self.served.classes),
            **self.outputs,
        )
        return buffer.getvalue()
