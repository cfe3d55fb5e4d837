"""Runs: segment slides and pictures in bounded memory, and resume what was stopped.

many                  segment several images over one connection; ahead: fetch the next one
segment_image         segment one image, from its file to its outputs
options               options of a run
pipeline              read, segment, stitch and keep blocks, several at a time
concurrency           limit of requests in flight; memory: return freed memory to the system
finished              results of slides on stores, which need not be fetched again
run, lock, events     the folder of a run, its lock and its log
outputs               write the output files; measure: measurements of every nucleus
progress, status      progress of a run; cluster: run on other machines
"""
