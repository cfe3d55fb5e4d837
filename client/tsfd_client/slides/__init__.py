"""Whole-slide images: read in parts, segmented in bounded memory, resumable.

`reader` opens slides (`scanner` by OpenSlide, `pyramid` by tifffile), `tissue` finds where there is
something to segment.
"""
