"""Extract the nuclei of an image from its class and boundary probabilities.

    result = extract(class_probs, boundary_prob)
    result.instance_map   uint16 [H, W], 0 background, ids 1..n in raster order of first pixels
    result.nuclei         float32 [n, 11], one row per id, columns as in ``COLUMNS``
    result.contours       int16 [m, 2], outer contours (x, y) of all nuclei one after another

extract       all steps from probabilities to nuclei
watershed     split touching nuclei; holes: fill them
measures      area, position and class; channels: sum the probabilities; contours: outlines
runs          stretches of pixels, which the steps work on instead of single ones
parameters    thresholds and their ranges

Needs only numpy and numba. Every kernel releases the interpreter lock, so a batch is processed by
calling `extract` from one thread per image. Call `warm_up` once to compile.
"""

from instances.extract import Instances, extract, warm_up
from instances.measures import COLUMNS
from instances.parameters import Parameters

__all__ = ["COLUMNS", "Instances", "Parameters", "extract", "warm_up"]
