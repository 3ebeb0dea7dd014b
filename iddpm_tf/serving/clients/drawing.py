"""Images from a server, in batches."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from iddpm_tf import settings
from iddpm_tf.serving import layout
from iddpm_tf.serving.clients import base

Integers = np.ndarray | Sequence[int]


def draw(
  client: base.Client,
  signature: str,
  seeds: Integers,
  labels: Integers | None = None,
  *,
  others: Mapping[str, np.ndarray] | None = None,
  batch_size: int = 8,
) -> np.ndarray:
  """Returns the images of seeds, uint8 [N, H, W, C]. The arguments are those of `batches`."""
  received = batches(client, signature, seeds, labels, others=others, batch_size=batch_size)
  return np.concatenate([images for _, images in received])


def batches(
  client: base.Client,
  signature: str,
  seeds: Integers,
  labels: Integers | None = None,
  *,
  others: Mapping[str, np.ndarray] | None = None,
  batch_size: int = 8,
) -> Iterator[tuple[slice, np.ndarray]]:
  """Draws the images of seeds in several requests. An image is the same in each batch size.

  Args:
    client: a client of the model.
    signature: the name of a sampler, such as `ddim_50`, or "" for the default signature.
    seeds: one seed per image, [N].
    labels: one label per image, [N], or None if the model has no classes.
    others: the other inputs of the signature by name, such as `guidance_scale` float32 [N], or of
      `edit_...` the inputs `image` uint8 [N, H, W, C], `mask` uint8 [N, H, W, 1] and `strength`
      float32 [N].
    batch_size: the number of images per request.

  Yields:
    The indices of the received images as a slice of N, and the images, uint8 [B, H, W, C].

  Raises:
    ServingError: the server refuses a request, or its answer holds no images.
  """
  for start in range(0, len(seeds), batch_size):
    indices = slice(start, min(start + batch_size, len(seeds)))
    arrays = {"seed": np.asarray(seeds[indices], np.int64)}
    if labels is not None:
      arrays["label"] = np.asarray(labels[indices], np.int32)
    arrays |= {name: values[indices] for name, values in (others or {}).items()}
    outputs = list(client.predict(signature, arrays).values())
    count = len(arrays["seed"])
    if not _are_images(outputs, count):
      received = ", ".join(f"{output.dtype} {list(output.shape)}" for output in outputs)
      raise base.ServingError(
        f"{signature}: expected one output [{count}, H, W, C] of integers from 0 to 255, received "
        f"{received or 'no output'}"
      )
    yield indices, outputs[0].astype(np.uint8)


def class_names(client: base.Client, signatures: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
  """Returns the names of a model's classes by number; empty where the export does not have them.

  Args:
    client: a client of the model.
    signatures: the inputs of each signature, from `Client.signatures`.

  Raises:
    ServingError: the server does not answer, or its answer holds no names.
  """
  if layout.CLASS_NAMES not in signatures:
    return ()
  seed = {"seed": np.zeros([1], np.int64)}
  (names, *others) = client.predict(layout.CLASS_NAMES, seed).values()
  values = names.ravel().tolist()
  if others or names.ndim != 2 or len(names) != 1 or not all(isinstance(v, bytes) for v in values):
    raise base.ServingError(
      f"{layout.CLASS_NAMES}: expected one output [1, K] of strings, received {names.dtype} "
      f"{list(names.shape)}"
    )
  return tuple(value.decode("utf-8", "surrogateescape") for value in values)


def require_image_signature(
  signatures: Mapping[str, tuple[str, ...]], name: str
) -> tuple[str, ...]:
  """Returns the inputs of a signature from which images can be drawn by their seeds.

  Args:
    signatures: the inputs of each signature, from `Client.signatures`.
    name: the name of a signature.

  Raises:
    InputError: there is no such signature, or it requires images, or it does not return images.
  """
  settings.require(name in signatures, "signature", f"one of {', '.join(sorted(signatures))}", name)
  settings.require(
    "low_res" not in signatures[name],
    "signature",
    "one that needs no images",
    f"{name}, which enlarges images",
  )
  settings.require(
    name == layout.DEFAULT_SIGNATURE or layout.is_sampler(name.removeprefix(layout.EDIT_PREFIX)),
    "signature",
    "the name of a sampler",
    name,
  )
  return signatures[name]


def _are_images(outputs: Sequence[np.ndarray], count: int) -> bool:
  if len(outputs) != 1 or outputs[0].dtype.kind not in "iu":
    return False
  (images,) = outputs
  return (
    images.ndim == 4
    and len(images) == count
    and images.size > 0
    and images.min() >= 0
    and images.max() < 256
  )
