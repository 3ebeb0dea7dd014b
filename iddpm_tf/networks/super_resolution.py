"""The UNet that enlarges images (Appendix C of Nichol & Dhariwal, 2021)."""

from keras import ops

from iddpm_tf.networks import unet


class SuperResolutionUNet(unet.UNet):
  """A `UNet` that also sees a smaller image: `network(x, t, label, low_res=low_res)`.

  x [B, H, W, C], low_res [B, h, w, C'] -> float32 [B, H, W, out_channels].
  """

  def build(self, x_shape, t_shape=None, label_shape=None, *, low_res_shape):
    super().build((*x_shape[:-1], x_shape[-1] + low_res_shape[-1]))

  def call(self, x, t, label=None, *, low_res, training=False):
    _, height, width, _ = ops.shape(x)
    # Half-pixel centres, as PyTorch's align_corners=False.
    enlarged = ops.image.resize(
      low_res, (height, width), interpolation="bilinear", data_format="channels_last"
    )
    return super().call(ops.concatenate([x, enlarged], axis=-1), t, label, training=training)
