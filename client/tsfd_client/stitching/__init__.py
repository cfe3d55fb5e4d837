"""Tiles that overlap -> the nuclei of the image.

tiling      an image is cut into tiles
versions    what each tile says of its nuclei
between     tiles asked for as well, which hold whole what others cut
join        overlapping versions become nuclei
stitch      all of this for an image in memory
seams       the same where the blocks of a slide meet
outline     masks and their outlines
"""
