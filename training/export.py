"""Weights -> SavedModel with the serving contract: uint8 tiles in, uint8 probabilities out.

    python -m training.export --weights weights/lite.npz --out build/saved_model

Signature ``serving_default``: ``image`` uint8 [N, 256, 256, 3] in; ``class_probs`` uint8
[N, 256, 256, 6], ``boundary_prob`` uint8 [N, 256, 256] (probability times 255, rounded) and
``tissue_probs`` float32 [N, 19] out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import keras
from keras import ops

from training.model import weights
from training.model.network import PRESETS, build
from training.model.preprocess import TILE


class ExportError(Exception):
    """Something the user can put right; the message says what and how."""


def probabilities(image: keras.KerasTensor, network: keras.Model) -> dict[str, keras.KerasTensor]:
    """Run the network on uint8 tiles and return what a served model returns.

    Parameters
    ----------
    image
        uint8 [N, 256, 256, 3].
    network
        As `training.model.network.build` makes it.

    Returns
    -------
    dict
        ``class_probs`` uint8 [N, 256, 256, 6], ``boundary_prob`` uint8 [N, 256, 256],
        ``tissue_probs`` float32 [N, 19].
    """
    logits = network(image, training=False)
    return {
        "class_probs": _to_uint8(ops.softmax(logits["class_logits"], axis=-1)),
        "boundary_prob": _to_uint8(ops.sigmoid(logits["boundary_logits"][..., 0])),
        "tissue_probs": ops.softmax(logits["tissue_logits"], axis=-1),
    }


def export(network: keras.Model, out: Path) -> None:
    """Write a SavedModel, replacing what `out` held only once the new one is complete.

    Parameters
    ----------
    network
        As `training.model.network.build` makes it, with its weights.
    out
        Folder to write.

    Raises
    ------
    ExportError
        If Keras runs on another backend than TensorFlow, or `out` cannot be written or holds
        something other than a SavedModel.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"A SavedModel can only be written by Keras' TensorFlow backend, not by "
            f"{keras.backend.backend()!r}: run the export with KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf  # here, so that the module imports on a machine with JAX only

    if (
        out.exists()
        and not (out / "saved_model.pb").is_file()
        and (not out.is_dir() or any(out.iterdir()))
    ):
        raise ExportError(
            f"{out} exists and is not a SavedModel; delete it or choose another --out."
        )

    @tf.function(
        input_signature=[tf.TensorSpec((None, TILE, TILE, 3), tf.uint8, name="image")],
        autograph=False,
    )
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return probabilities(image, network)

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
            if out.exists():
                out.rename(Path(scratch) / "old")
            written.rename(out)
    except OSError as error:
        raise ExportError(f"Cannot write {out}: {error.strerror or error}.") from error


def _to_uint8(probability: keras.KerasTensor) -> keras.KerasTensor:
    return ops.cast(ops.round(255.0 * probability), "uint8")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
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
        help="trained network (default: %(default)s)",
    )
    source.add_argument(
        "--random-weights",
        choices=tuple(PRESETS),
        metavar="PRESET",
        help="export an untrained network instead, to try the tool chain: " + " or ".join(PRESETS),
    )
    parser.add_argument("--out", type=Path, default=Path("build/saved_model"), metavar="DIR")
    arguments = parser.parse_args(argv)

    try:
        if arguments.random_weights:
            network, preset = build(arguments.random_weights), arguments.random_weights
        else:
            network, preset = weights.load(arguments.weights)
        export(network, arguments.out)
    except (ExportError, weights.WeightsError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {arguments.out} ({preset}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
