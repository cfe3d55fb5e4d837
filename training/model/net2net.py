"""Grow a backbone from a smaller one of the same family (Chen et al. 2016, "Net2Net").

    grow(state, arrays)    # EfficientNet-Lite2 as PyTorch saved it -> EfficientNet-B4 for Keras

Each channel that the smaller network lacks is a copy of one that it has. The layers that read a
channel and its copies weight them by shares, so that sums stay the same. A little noise on the
copies keeps them from learning the same thing for ever. A stage's additional blocks are copies of
its other blocks and start with a tenth of their effect. Between networks of the same size all
weights are copied unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_NOISE = 0.05  # noise on copies, relative to the kernel's standard deviation
_FAINT = 0.1  # initial effect of a block that the smaller network lacks
_STEEP = 2.0  # swish(2x) / 2 is closer to the ReLU that the weights were trained with
_UNSEEN = 0.1  # scale of the stem's random filters for channels other than RGB
_OPEN = 2.0  # initial logit of a squeeze-excite gate
_STEADY = 0.05  # scale of the random kernel that modulates the gate
_SEED = 0

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Channels:
    """Channels of the larger network: origin of each, int64 [n], and its share, float64 [n]."""

    origin: np.ndarray
    share: np.ndarray

    @property
    def copied(self) -> np.ndarray:
        """bool [n], whether the channel is a copy."""
        return self.origin != np.arange(len(self.origin))


def grow(source: Arrays, target: Arrays) -> dict[str, np.ndarray]:
    """Compute the weights of a backbone from those of a smaller or equal one.

    Parameters
    ----------
    source
        Variables of an EfficientNet-Lite by PyTorch's names; kernels are [out, in, h, w].
    target
        Variables of an untrained network by their Keras paths.

    Returns
    -------
    dict
        New values for variables of `target`, by path.
    """
    growth = _Growth(source, target)
    x = growth.stem()
    for numbers, blocks in zip(_source_stages(source), _target_stages(target), strict=True):
        x = growth.stage(numbers, blocks, x)
    growth.top(x)
    return growth.grown


class _Growth:
    def __init__(self, source: Arrays, target: Arrays) -> None:
        self._source = source
        self._target = target
        self._rng = np.random.default_rng(_SEED)
        gated = any(path.endswith("_se_expand/kernel") for path in target)
        self._steep = _STEEP if gated else 1.0  # gates and swish come together
        self._gate = 1 / (1 + np.exp(-_OPEN)) if gated else 1.0
        self.grown: dict[str, np.ndarray] = {}

    def stem(self) -> _Channels:
        x = self._channels("_conv_stem", "stem_conv")
        filters = _UNSEEN * self._target["stem_conv/kernel"]
        filters[:, :, :3] = self._kernel("_conv_stem", None, x).transpose(0, 1, 3, 2)
        self.grown["stem_conv/kernel"] = filters
        self._normalise("stem_bn", "_bn0", x, self._steep)
        return x

    def stage(self, numbers: list[int], blocks: list[str], x: _Channels) -> _Channels:
        out = self._channels(f"_blocks.{numbers[0]}._project_conv", f"{blocks[0]}_project_conv")
        seen = set()
        for place, block in enumerate(blocks):
            # The first block of a stage changes the resolution, so no other block can replace it.
            later = len(numbers) - 1
            of = 1 + (place - 1) * later // (len(blocks) - 1) if place else 0
            if of > later:
                gamma = f"{block}_project_bn/gamma"
                self.grown[gamma] = _FAINT * self._target[gamma]
            else:
                self._block(numbers[of], block, x, out, _FAINT if of in seen else 1.0)
            self._open_gate(block)
            seen.add(of)
            x = out
        return out

    def top(self, x: _Channels) -> None:
        top = self._channels("_conv_head", "top_conv")
        self.grown["top_conv/kernel"] = self._kernel("_conv_head", x, top)
        self._normalise("top_bn", "_bn1", top, self._steep)

    def _block(self, number: int, block: str, x: _Channels, out: _Channels, effect: float) -> None:
        source = f"_blocks.{number}"
        if f"{block}_expand_conv/kernel" in self._target:
            wide = self._channels(f"{source}._expand_conv", f"{block}_expand_conv")
            self.grown[f"{block}_expand_conv/kernel"] = self._kernel(
                f"{source}._expand_conv", x, wide
            )
            self._normalise(f"{block}_expand_bn", f"{source}._bn0", wide, self._steep)
            x = wide
        self.grown[f"{block}_depthwise_conv/kernel"] = self._kernel(
            f"{source}._depthwise_conv", None, x
        )
        self._normalise(f"{block}_depthwise_bn", f"{source}._bn1", x, self._steep)
        project = self._kernel(f"{source}._project_conv", x, out)
        self.grown[f"{block}_project_conv/kernel"] = project / self._gate
        self._normalise(f"{block}_project_bn", f"{source}._bn2", out, effect)

    def _channels(self, source: str, target: str) -> _Channels:
        """Map the output channels of a convolution to those of the smaller network."""
        few = len(self._source[f"{source}.weight"])
        many = self._target[f"{target}/kernel"].shape[-1]
        origin = np.concatenate([np.arange(few), self._rng.choice(few, many - few)])
        share = self._rng.uniform(0.6, 1.4, many)
        return _Channels(origin, share / np.bincount(origin, share)[origin])

    def _kernel(self, layer: str, inputs: _Channels | None, outputs: _Channels) -> np.ndarray:
        """Kernel [h, w, in, out], or [h, w, out, in] if the inputs do not grow (None)."""
        weight = self._source[f"{layer}.weight"][outputs.origin]
        if inputs is not None:
            weight = weight[:, inputs.origin] * inputs.share[:, None, None]
        noise = self._rng.normal(0, _NOISE * weight.std(), weight.shape)
        weight = weight + noise * outputs.copied[:, None, None, None]
        return weight.transpose((2, 3, 0, 1) if inputs is None else (2, 3, 1, 0))

    def _normalise(self, name: str, norm: str, channels: _Channels, effect: float) -> None:
        for ours, theirs, scale in (
            ("gamma", "weight", effect),
            ("beta", "bias", effect),
            ("moving_mean", "running_mean", 1.0),
            ("moving_variance", "running_var", 1.0),
        ):
            self.grown[f"{name}/{ours}"] = scale * self._source[f"{norm}.{theirs}"][channels.origin]

    def _open_gate(self, block: str) -> None:
        """Start a block's squeeze-excite gates open, nearly equally for all channels."""
        kernel, bias = f"{block}_se_expand/kernel", f"{block}_se_expand/bias"
        if kernel in self._target:
            self.grown[kernel] = _STEADY * self._target[kernel]
            self.grown[bias] = np.full_like(self._target[bias], _OPEN)


def _source_stages(source: Arrays) -> list[list[int]]:
    """Numbers of the blocks by stage: consecutive blocks with the same number of outputs."""
    stages: list[list[int]] = []
    outputs = None
    number = 0
    while (weight := source.get(f"_blocks.{number}._project_conv.weight")) is not None:
        if len(weight) != outputs:
            stages.append([])
        outputs = len(weight)
        stages[-1].append(number)
        number += 1
    return stages


def _target_stages(target: Arrays) -> list[list[str]]:
    """Names of the blocks by stage: ``block2a`` and ``block2b`` are in the second."""
    suffix = "_project_conv/kernel"
    blocks = sorted(path.removesuffix(suffix) for path in target if path.endswith(suffix))
    return [[b for b in blocks if b[:-1] == stage] for stage in sorted({b[:-1] for b in blocks})]
