"""Triton on this machine: what launches it, watches it and ends it. ``python -m serving`` serves.

environment         the embedded server's own environment; packages: how packages are installed
installation        which Triton there is, NVIDIA's or the embedded one, and for which hardware
server              one `TritonServer` as a child process
first_start         the engine for this host's GPU, found or built when the server starts
supervisor          a server that is started again where it no longer answers
canary, health      a patch every two seconds; ``/health`` and metrics
"""
