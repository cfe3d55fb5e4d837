"""Images and slides from Python, into folders and out of them.

segment     files -> results, with progress and resuming
result      what a folder holds, as tables of other libraries
"""
