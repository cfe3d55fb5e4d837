"""Classes of one's own, from marked nuclei.

labels     names and colours of classes, and the two labels that are none
marks      read marks: from the page, from QuPath, from a table
matching   find the nucleus of each mark
"""
