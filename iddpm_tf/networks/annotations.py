"""Types in the annotations of the networks."""

import keras

Tensor = keras.KerasTensor  # A tensor of any backend, or a NumPy array.
Shape = tuple[int | None, ...]
DType = str | keras.DTypePolicy | None
