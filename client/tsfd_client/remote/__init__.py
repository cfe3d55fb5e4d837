"""Slides on stores: S3, web servers and whatever else fsspec reads.

cache     lends the slide of an address as a file on this machine, fetched once and kept for a while
transfer  fetches it, taking up what broke off
trouble   what a store's errors mean
address   the address of a slide, with its credentials and without
entry     the files of a slide in the cache; lock: a lock on one of them
"""
