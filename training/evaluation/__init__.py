"""How well nuclei are found.

in_process, served, sources    segment images by a weights file, or by a server
methods, reference             find nuclei in probabilities, as served or as in the paper
segment_and_score              segment and score every image of a data set
image_scores                   scores of one image; those of outlines are in `metrics`
  detection, confusion           by centroids and classes
  class_groups, calibration
  trusted                        leaves out what nobody annotated
scores                         scores of a data set, with intervals
tables, published              tables of them, beside published scores
files, report                  the files written
"""
