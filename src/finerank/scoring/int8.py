"""Weights in 8 bits, in blocks of 64 along a row with a scale each: what ONNX Runtime's MatMulNBits reads.

A weight [rows, columns] is kept as uint8 [rows, columns] under its own name, and `<name>.scale`, float32
[rows, columns / 64], beside it: value = (stored - 128) * scale. One safetensors file serves every backend: the torch
backend widens it, and a graph in ONNX refers to the bytes where they lie.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
ZERO = 128
SCALE = ".scale"
METHOD = "finerank-int8"
"""`quantization_config.quant_method` in config.json."""


def quantise(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Nearest values in 8 bits, and the scales; symmetric, so that 0 stays 0. Columns must be a multiple of 64."""
    blocks = weight.reshape(len(weight), -1, BLOCK)
    scale = (np.abs(blocks).max(2) / 127).astype(np.float32)
    steps = np.divide(blocks, scale[..., None], out=np.zeros_like(blocks), where=scale[..., None] > 0)
    return (np.rint(steps) + ZERO).astype(np.uint8).reshape(weight.shape), scale
