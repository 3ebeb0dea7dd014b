"""The networks, as Keras layers built with `keras.ops`, so that they run on every Keras backend."""

from iddpm_tf import config as config_lib
from iddpm_tf.networks.super_resolution import SuperResolutionUNet
from iddpm_tf.networks.unet import UNet

__all__ = ["SuperResolutionUNet", "UNet", "build_network"]


def build_network(config: config_lib.Config) -> UNet:
  """Returns the built network of a configuration.

  Args:
    config: a configuration with `data.image_shape`.

  Returns:
    A `SuperResolutionUNet` if the configuration is one of a super-resolution model, otherwise a
    `UNet`.
  """
  options, image_shape = config.network, config.data.image_shape
  network_class = SuperResolutionUNet if config.low_res_shape else UNet
  network = network_class(
    base_channels=options.base_channels,
    channel_multipliers=options.channel_multipliers,
    num_res_blocks=options.num_res_blocks,
    attention_factors=[image_shape[0] // height for height in options.attention_resolutions],
    num_heads=options.num_heads,
    num_heads_upsample=options.num_heads_upsample,
    scale_shift_norm=options.scale_shift_norm,
    conv_resample=options.conv_resample,
    dropout=options.dropout,
    num_classes=config.num_classes,
    out_channels=config.out_channels,
    dtype=options.precision,
    name="unet",
  )
  low_res = {"low_res_shape": (None, *config.low_res_shape)} if config.low_res_shape else {}
  network.build((None, *image_shape), **low_res)
  return network
