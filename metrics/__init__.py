"""Scores of instance maps, for training, conversion, load tests and the demo.

overlap             overlap of the instances of two maps, and matches between them
panoptic_quality    PQ, DQ and SQ of a map, an image or a class
dice_and_aji        Dice, AJI and AJI+
estimates           means and ratios with confidence intervals
"""
