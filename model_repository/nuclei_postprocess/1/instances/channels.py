"""Sum the channels of pixels."""

from typing import Final

import numpy as np

from instances.compile import kernel

_EVEN: Final = np.uint64(0x00FF00FF00FF00FF)  # every other byte of a word
_MOST: Final = 257  # pixels whose sum 16 bits hold
_LOWEST: Final = np.uint64(0xFFFF)
_BYTE, _TWO_BYTES = np.uint64(8), np.uint64(16)


@kernel
def add_channels(sums, values, start, end):
    """Add ``values[start:end]``, the channels of pixels one after another, to int64 [channels].

    Up to eight channels are read as one word and summed in two, 16 bits for each.
    """
    channels = len(sums)
    if end + 7 > len(values):  # words would reach beyond the last pixel
        for i in range(start, end):
            sums[(i - start) % channels] += values[i]
        return
    while start < end:
        stop = min(end, start + _MOST * channels)
        for c in range(0, channels, 8):
            even, odd = np.uint64(0), np.uint64(0)
            i = start + c
            while i < stop:
                word = _word(values, np.uint64(i))
                even += word & _EVEN
                odd += word >> _BYTE & _EVEN
                i += channels
            for d in range(c, min(c + 8, channels), 2):
                sums[d] += np.int64(even & _LOWEST)
                if d + 1 < channels:
                    sums[d + 1] += np.int64(odd & _LOWEST)
                even >>= _TWO_BYTES
                odd >>= _TWO_BYTES
        start = stop


@kernel
def _word(values, i):
    """Eight bytes, lowest first; compiled to a single load."""
    word = np.uint64(0)
    for k in range(8):
        word |= np.uint64(values[i + np.uint64(k)]) << np.uint64(8 * k)
    return word
