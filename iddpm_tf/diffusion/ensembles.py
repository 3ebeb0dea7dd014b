"""Two models of one process, each for the timesteps at which it is the better one (Appendix D)."""

import tensorflow as tf


def ends_and_middle(ends_fn, middle_fn, process, config, steps):
  """A `denoise_fn`: `middle_fn` for t in [steps, T - steps), `ends_fn` for the timesteps before and after.

  A batch that has timesteps of one kind only is given to that model alone.

  Args:
    ends_fn: `(x_t, t) -> output`, t as the network sees it; L_vlb's model in the paper.
    middle_fn: the same; L_hybrid's.
    process: the `GaussianProcess`, perhaps respaced: the timesteps that count are its original's.
    config: both models' `DiffusionConfig`.
    steps: 100 in the paper.
  """
  total = len(process.original_betas)
  scale = 1000.0 / total if process.rescale_timesteps else 1.0

  def denoise_fn(x_t, t):
    original = tf.round(t / scale)  # [B]
    at_end = (original < steps) | (original >= total - steps)
    channels = x_t.shape[-1] * (2 if config.learns_variance else 1)

    def nothing():
      return tf.zeros([*tf.unstack(tf.shape(x_t)[:3]), channels])

    def of(model_fn, chosen):
      output = tf.cond(tf.reduce_any(chosen), lambda: model_fn(x_t, t), nothing)
      return tf.ensure_shape(output, [*x_t.shape[:3], channels])

    return tf.where(at_end[:, None, None, None], of(ends_fn, at_end), of(middle_fn, ~at_end))

  return denoise_fn
