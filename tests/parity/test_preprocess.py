"""Resizing and cropping against the authors' data loader."""

import io

import numpy as np
from PIL import Image

from iddpm_tf.data import crops
from iddpm_tf.data import images as images_lib


def test_preprocess(preprocess_file):
  golden = np.load(preprocess_file)
  indices = [key.removesuffix("/png") for key in golden.files if key.endswith("/png")]
  assert indices
  for index in indices:
    with Image.open(io.BytesIO(golden[f"{index}/png"].tobytes())) as image:
      pixels = crops.centre_crop(image, int(golden[f"{index}/size"]))
    # The tolerance is far below a level, which is 2 / 255.
    np.testing.assert_allclose(
      images_lib.to_unit_range(pixels), golden[f"{index}/out"], atol=1e-6, err_msg=index
    )
