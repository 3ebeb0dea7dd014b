"""Types in the annotations of the networks."""

from typing import Any

import keras

Tensor = keras.KerasTensor  # A tensor of any backend, or a NumPy array.
Shape = tuple[Any, ...]  # Sizes, of which None is unknown.
DType = str | keras.DTypePolicy | None
