"""How well nuclei are found.

in_process, served, sources    what segments the images: a weights file, or a server
methods, reference             from probabilities to nuclei, as served and as in the paper
segment_and_score              every image of a data set through it
image_scores                   one image's scores, of which these are by centroids and classes (by
                               outlines: `metrics`)
  detection, confusion, class_groups, calibration
  trusted                                          what of them counts where not all is known
scores                         a data set's scores with their intervals
tables, published, files, report                   what is shown and written
"""
