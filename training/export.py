"""Export weights as a SavedModel with the serving signature.

    python -m training.export --weights weights/lite.npz --out build/saved_model

Signature ``serving_default``: ``image`` uint8 [N, 256, 256, 3] in; ``class_probs`` uint8
[N, 256, 256, 1 + K], ``boundary_prob`` uint8 [N, 256, 256] (probability times 255, rounded),
``tissue_probs`` float32 [N, 19] and ``features`` float16 [N, 64, 64, D] out. An export that is up
to date is left as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from training.exported import Exported, file_sha256, is_current, source_sha256
from training.quiet import quiet_tensorflow
from tsfd_client.contract import TILE

if TYPE_CHECKING:
    import keras


class ExportError(Exception):
    """The export failed for a reason the user can fix; the message says how."""


def export(network: keras.Model, out: Path, origin: Exported) -> None:
    """Write a SavedModel, replacing what `out` held only once the new one is complete.

    Parameters
    ----------
    network
        As `training.model.network.build` makes it, with its weights.
    out
        Folder to write.
    origin
        What the network was made from; goes into the SavedModel.

    Raises
    ------
    ExportError
        If Keras runs on another backend than TensorFlow, or `out` cannot be written or holds
        something other than a SavedModel.
    """
    with quiet_tensorflow():
        import keras
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"A SavedModel can only be written by Keras' TensorFlow backend, not by "
            f"{keras.backend.backend()!r}: run the export with KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    from training.model.classes import features
    from training.model.serving import probabilities

    if (
        out.exists()
        and not (out / "saved_model.pb").is_file()
        and (not out.is_dir() or any(out.iterdir()))
    ):
        raise ExportError(
            f"{out} exists and is not a SavedModel; delete it or choose another --out."
        )

    described = keras.Model(network.input, {**network.output, "features": features(network)})

    @tf.function(
        input_signature=[tf.TensorSpec((None, TILE, TILE, 3), tf.uint8, name="image")],
        autograph=False,
    )
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = described(image, training=False)
        return {**probabilities(outputs), "features": outputs["features"]}

    module = tf.Module()
    module.variables_of_network = [variable.value for variable in network.variables]
    module.serve = serve
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            written = Path(scratch) / "new"
            tf.saved_model.save(
                module,
                str(written),
                signatures={"serving_default": serve},
                options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
            )
            origin.write(written)
            if out.exists():
                out.rename(Path(scratch) / "old")
            written.rename(out)
    except OSError as error:
        raise ExportError(f"Cannot write {out}: {error.strerror or error}.") from error


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--weights",
        type=Path,
        default=Path("weights/lite.npz"),
        metavar="FILE",
        help="trained network, or classes that `tsfd adapt` wrote (default: %(default)s)",
    )
    source.add_argument(
        "--random-weights",
        metavar="PRESET",
        help="export an untrained network instead, to try out the tool chain: paper or lite",
    )
    parser.add_argument("--out", type=Path, default=Path("build/saved_model"), metavar="DIR")
    arguments = parser.parse_args(argv)
    if not arguments.random_weights and is_current(arguments.out, arguments.weights):
        print(f"{arguments.out} is up to date with {arguments.weights}.")
        return 0

    with quiet_tensorflow():
        from training.model.weights import WeightsError
    try:
        if arguments.random_weights:
            network, origin = _random(arguments.random_weights)
        else:
            network, origin = _trained(arguments.weights)
        export(network, arguments.out, origin)
    except (ExportError, WeightsError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {arguments.out} ({origin.preset}).")
    return 0


def _trained(path: Path) -> tuple[keras.Model, Exported]:
    from training.model import weights
    from training.model.own_classes import read
    from tsfd_client.classes.head import is_own_classes

    network, preset = weights.load(path)
    origin = origin_of(
        network,
        preset,
        file_sha256(path),
        asdict(weights.parameters(path)),
        weights.target(path).to_dict(),
    )
    if is_own_classes(path):
        head, base = read(path)
        origin = replace(
            origin,
            weights_sha256=file_sha256(base),
            classes_sha256=file_sha256(path),
            network_classes=[*head.network_classes],
        )
    return network, origin


def origin_of(
    network: keras.Model, preset: str, sha256: str, parameters: dict, target: dict
) -> Exported:
    """The record of a network that is served with its own classes; arguments as in `Exported`."""
    from training.model.classes import features

    return Exported(
        preset,
        weights_sha256=sha256,
        classes_sha256="",
        source_sha256=source_sha256(),
        parameters=parameters,
        target=target,
        network_classes=[kind["name"] for kind in target["classes"]],
        features=features(network).shape[-1],
    )


def _random(preset: str) -> tuple[keras.Model, Exported]:
    import instances

    from training.model.network import build
    from training.target import PANNUKE

    try:
        network = build(preset)
    except ValueError as error:
        raise ExportError(str(error)) from error
    digest = hashlib.sha256()
    for variable in network.variables:
        digest.update(variable.numpy().tobytes())
    parameters, target = asdict(instances.Parameters()), PANNUKE.to_dict()
    return network, origin_of(network, preset, digest.hexdigest(), parameters, target)


if __name__ == "__main__":
    sys.exit(main())
