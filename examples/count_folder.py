"""Count the nuclei of each class in every image of a folder, as a table.

python examples/count_folder.py images counts.csv --mpp 0.25
"""

import argparse
from pathlib import Path

import pandas as pd

from tsfd_client import Client, ImageError, read_image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder", type=Path)
parser.add_argument("table", type=Path, help="CSV file to write")
parser.add_argument("--mpp", type=float, help="micrometres per pixel, if the images do not say it")
parser.add_argument("--server", default="localhost:8001")
arguments = parser.parse_args()

rows = {}
with Client(arguments.server) as client:
    for path in sorted(arguments.folder.iterdir()):
        try:
            image, mpp = read_image(path, mpp=arguments.mpp)
            rows[path.name] = client.segment(image, mpp=mpp).counts()
        except ImageError as error:
            print(f"skipped: {error}")

table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("image")
table["all"] = table.sum(axis="columns")
print(table.to_string())
table.to_csv(arguments.table)
