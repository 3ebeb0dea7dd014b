"""Two models of one process, each for the timesteps at which it is better (Appendix D)."""

import tensorflow as tf

from iddpm_tf.diffusion import gaussian_diffusion


def ends_and_middle(
  ends_fn: gaussian_diffusion.ModelFn,
  middle_fn: gaussian_diffusion.ModelFn,
  diffusion: gaussian_diffusion.GaussianDiffusion,
  steps: int,
) -> gaussian_diffusion.ModelFn:
  """Returns a `model_fn` that uses `middle_fn` for t in [steps, T - steps), and `ends_fn`
  elsewhere.

  A batch whose timesteps all belong to one model is given to that model alone.

  Args:
    ends_fn: the model for the first and the last timesteps. The paper uses one trained on L_vlb.
    middle_fn: the model for the other timesteps. The paper uses one trained on L_hybrid.
    diffusion: the diffusion of both models, perhaps respaced. `steps` counts original timesteps.
    steps: the number of timesteps at either end. The paper uses 100.
  """
  process, config = diffusion.process, diffusion.config
  total = process.num_original_timesteps

  def model_fn(x_t, t):
    original = tf.round(t / process.timestep_scale)  # [B]
    at_end = (original < steps) | (original >= total - steps)
    channels = x_t.shape[-1] * (2 if config.learns_variance else 1)

    def zeros():
      return tf.zeros([*tf.unstack(tf.shape(x_t)[:3]), channels])

    def run_if_needed(function, chosen):
      output = tf.cond(tf.reduce_any(chosen), lambda: function(x_t, t), zeros)
      return tf.ensure_shape(output, [*x_t.shape[:3], channels])

    return tf.where(
      at_end[:, None, None, None],
      run_if_needed(ends_fn, at_end),
      run_if_needed(middle_fn, ~at_end),
    )

  return model_fn
