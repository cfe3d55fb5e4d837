"""Runs: slides and pictures, segmented in bounded memory, resumable.

many                  images, one after the other over one connection
segment_image         an image from its file to its outputs
options               how it is to be segmented
pipeline              blocks are read, asked for, stitched and kept, several at a time
concurrency           how many requests are under way; memory: what is given back
run, lock, events     the folder of a run, who may write to it, what happened
outputs               the files
progress, status      how far images are; cluster: images on other machines
"""
