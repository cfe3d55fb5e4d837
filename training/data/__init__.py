"""Annotated images.

annotated            an image with its nuclei, and data sets of them
manifest, pannuke    where they come from
check                what is broken in them
hold_back            which of them are for training, choosing settings and reporting
augment, batches     random patches of them for training
"""
