"""Run Triton on this machine: ``python -m serving``.

environment         the embedded server's environment; packages: install packages into it
installation        find the installed Triton, NVIDIA's or the embedded one, and its hardware
server              run one `TritonServer` as a child process
first_start         find or build the engine for this host's GPU when the server starts
supervisor          restart a server that no longer answers
canary, health      send a test patch every two seconds; serve ``/health`` and metrics
"""
