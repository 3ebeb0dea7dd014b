"""The networks, as Keras layers built with `keras.ops`, so that they run on every Keras backend."""

from iddpm_tf import config as config_lib
from iddpm_tf.networks.classifier import NoisyClassifier
from iddpm_tf.networks.encoder import Encoder
from iddpm_tf.networks.super_resolution import SuperResolutionUNet
from iddpm_tf.networks.unet import UNet

__all__ = [
  "Encoder",
  "NoisyClassifier",
  "SuperResolutionUNet",
  "UNet",
  "build_classifier",
  "build_network",
  "build_unet",
]


def build_network(config: config_lib.Config) -> Encoder:
  """Returns the built network of a configuration: a UNet, or a classifier.

  Args:
    config: a configuration with `data.image_shape`, and for a classifier with `data.num_classes`.
  """
  return build_classifier(config) if config.is_classifier else build_unet(config)


def build_unet(config: config_lib.Config) -> UNet:
  """Returns the built network of a diffusion model's configuration.

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
    num_head_channels=options.num_head_channels,
    attention_order=options.attention_order,
    scale_shift_norm=options.scale_shift_norm,
    conv_resample=options.conv_resample,
    resblock_updown=options.resblock_updown,
    scaled_first_conv=options.scaled_first_conv,
    dropout=options.dropout,
    num_classes=config.num_classes,
    optional_labels=config.network.label_dropout > 0,
    out_channels=config.out_channels,
    dtype=options.precision,
    name="unet",
  )
  low_res = {"low_res_shape": (None, *config.low_res_shape)} if config.low_res_shape else {}
  network.build((None, *image_shape), **low_res)
  return network


def build_classifier(config: config_lib.Config) -> NoisyClassifier:
  """Returns the built network of a classifier's configuration.

  Args:
    config: a configuration with `data.image_shape` and `data.num_classes`.
  """
  options, image_shape = config.network, config.data.image_shape
  network = NoisyClassifier(
    base_channels=options.base_channels,
    channel_multipliers=options.channel_multipliers,
    num_res_blocks=options.num_res_blocks,
    attention_factors=[image_shape[0] // height for height in options.attention_resolutions],
    num_heads=options.num_heads,
    num_classes=config.data.num_classes,
    pool=options.pool,
    num_head_channels=options.num_head_channels,
    attention_order=options.attention_order,
    scale_shift_norm=options.scale_shift_norm,
    conv_resample=options.conv_resample,
    resblock_updown=options.resblock_updown,
    scaled_first_conv=options.scaled_first_conv,
    dropout=options.dropout,
    dtype=options.precision,
    name="classifier",
  )
  network.build((None, *image_shape))
  return network
