"""How well instance maps agree: what training, conversion, load tests and the demo judge by.

overlap             pixels that two instance maps share, and which instances match
panoptic_quality    PQ, DQ, SQ; of one map, of images, of classes
dice_and_aji        Dice, AJI and their like
estimates           means and ratios with their intervals
"""
