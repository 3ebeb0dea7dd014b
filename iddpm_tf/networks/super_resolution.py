"""The UNet that enlarges images (Appendix C of Nichol & Dhariwal, 2021)."""

from keras import ops

from iddpm_tf import settings
from iddpm_tf.networks import unet
from iddpm_tf.networks.annotations import Shape
from iddpm_tf.networks.annotations import Tensor


class SuperResolutionUNet(unet.UNet):
  """A `UNet` that is also given a small image: `network(x, t, label, low_res=low_res)`.

  x [B, H, W, C], low_res [B, h, w, C'] -> float32 [B, H, W, out_channels].
  """

  def build(
    self,
    x_shape: Shape,
    t_shape: Shape | None = None,
    label_shape: Shape | None = None,
    *,
    low_res_shape: Shape | None = None,
  ) -> None:
    """Creates the layers for images of `x_shape` and small images of `low_res_shape`."""
    if low_res_shape is None:
      raise _no_small_images()
    super().build((*x_shape[:-1], x_shape[-1] + low_res_shape[-1]))

  def call(
    self,
    x: Tensor,
    t: Tensor,
    label: Tensor | None = None,
    training: bool = False,
    *,
    low_res: Tensor | None = None,
    remat: bool = False,
  ) -> Tensor:
    """Returns the network's prediction, float32 [B, H, W, out_channels].

    Args:
      x: noisy images, float [B, H, W, C].
      t: timesteps, float [B].
      label: class labels, int [B], of a class-conditional network.
      training: whether units are dropped out.
      low_res: the images to enlarge, float [B, h, w, C'], which are required.
      remat: see `UNet.call`.
    """
    if low_res is None:
      raise _no_small_images()
    _, height, width, _ = ops.shape(x)
    # Half-pixel centres, as in PyTorch with align_corners=False.
    enlarged = ops.image.resize(
      low_res, (height, width), interpolation="bilinear", data_format="channels_last"
    )
    x = ops.concatenate([x, enlarged], axis=-1)
    return super().call(x, t, label, training=training, remat=remat)


def _no_small_images() -> settings.InputError:
  return settings.InputError("low_res", "expected the images to enlarge, received none")
