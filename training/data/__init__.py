"""Annotated images.

annotated            an image with its nuclei, and data sets of them
manifest, pannuke    where they come from
check                what is broken in them
hold_back            which of them train, choose settings and report
augment, batches     what training sees of them
"""
