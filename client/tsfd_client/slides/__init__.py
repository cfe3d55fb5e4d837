"""Runs: whole slides, segmented in bounded memory, resumable.

segment               a slide from its file to its outputs
request               how it is to be segmented
plan                  in which tiles and blocks
pipeline              blocks are read, asked for, stitched and kept, several at a time
concurrency           how many requests are under way; memory: what is given back
run, lock, events     the folder of a run, who may write to it, what happened
finish                the outputs
progress, status      how far slides are; cluster: slides on other machines
"""
