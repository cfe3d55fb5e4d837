"""Segment an image and draw the outline of every nucleus in the colour of its class.

Needs the client and matplotlib.

python examples/plot_nuclei.py biopsy.png nuclei.png --mpp 0.5
"""

import argparse

import matplotlib.pyplot as plt
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from tsfd_client import Client, read_image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("image")
parser.add_argument("picture", help="file to write: PNG, PDF, SVG ...")
parser.add_argument("--mpp", type=float, help="micrometres per pixel, if the image does not say it")
parser.add_argument("--server", default="localhost:8001")
arguments = parser.parse_args()

image, mpp = read_image(arguments.image, mpp=arguments.mpp)
with Client(arguments.server) as client:
    nuclei = client.segment(image, mpp=mpp)

colours = {
    name: tuple(value / 255 for value in rgb) for name, rgb in nuclei.release.colours.items()
}
figure, axes = plt.subplots(figsize=(10, 10))
axes.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))
outlines = PolyCollection(
    nuclei.contours, facecolors="none", edgecolors=[colours[name] for name in nuclei.class_names]
)
axes.add_collection(outlines)
counts = nuclei.counts().items()
axes.legend(handles=[Patch(color=colours[name], label=f"{n} {name}") for name, n in counts])
axes.set_axis_off()
figure.savefig(arguments.picture, bbox_inches="tight", dpi=150)
