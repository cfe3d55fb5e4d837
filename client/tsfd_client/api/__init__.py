"""Segment images and read results from Python.

segment     segment files into folders, with progress and resuming
result      read the folder of a result, as tables of other libraries
"""
