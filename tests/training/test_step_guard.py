"""Which steps are taken, and the norms of groups of layers."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.training import flat
from iddpm_tf.training import step_guard


def guard_after(norms, max_ratio=10.0):
  guard = step_guard.StepGuard(max_ratio)
  for norm in norms:
    guard.update(tf.constant(norm), tf.constant(0.0))
  return guard


@pytest.mark.parametrize(
  "norm, loss, accepted",
  [(1.0, 1.0, True), (np.nan, 1.0, False), (np.inf, 1.0, False), (1.0, np.nan, False)],
)
@pytest.mark.parametrize("max_ratio", [0.0, 10.0])
def test_only_finite_steps_are_taken(norm, loss, accepted, max_ratio):
  guard = step_guard.StepGuard(max_ratio)
  assert bool(guard.accepts(tf.constant(norm), tf.constant(loss))) == accepted


def test_the_limit_is_a_multiple_of_the_median_once_enough_norms_are_known():
  rng = np.random.default_rng(0)
  norms = rng.uniform(1, 2, 400).astype(np.float32)
  assert np.isinf(guard_after(norms[:31]).limit())
  for count in (33, 127, 129, 301):
    newest = norms[:count][-step_guard.HISTORY :]
    middle = np.sort(newest)[[len(newest) // 2 - 1, len(newest) // 2]]
    limit = float(guard_after(norms[:count]).limit())
    assert 10 * middle[0] * (1 - 1e-6) <= limit <= 10 * middle[1] * (1 + 1e-6), count
  assert np.isinf(guard_after(norms, max_ratio=0.0).limit())


def test_a_skipped_norm_does_not_count():
  guard = guard_after([1.0] * 40)
  for _ in range(200):
    guard.update(tf.constant(1e9), tf.constant(1.0))
  assert float(guard.limit()) == 10 and int(guard.taken) == 40
  guard.update(tf.constant(np.nan), tf.constant(1.0))
  assert np.all(np.isfinite(guard.norms))


def test_norms_of_groups():
  paths = [
    "unet/time_in/kernel",
    "unet/input_0_0/kernel",
    "unet/input_0_0/bias",
    "unet/out_conv/kernel",
  ]
  rng = np.random.default_rng(0)
  arrays = [
    rng.standard_normal(shape).astype(np.float32) for shape in [(3, 70), (64, 5), (5,), (9, 9)]
  ]
  layout = flat.Layout(
    [array.shape for array in arrays], ["float32", "bfloat16", "float32", "bfloat16"]
  )
  norms = step_guard.group_norms(layout, layout.join(arrays), paths)
  assert step_guard.group_names(paths) == ["time", "input", "out"]
  expected = [
    np.linalg.norm(arrays[0]),
    np.hypot(np.linalg.norm(arrays[1]), np.linalg.norm(arrays[2])),
    np.linalg.norm(arrays[3]),
  ]
  np.testing.assert_allclose(norms, expected, rtol=1e-6)


def test_the_loss_scale_follows_overflows():
  guard = step_guard.StepGuard(0.0, scales_loss=True)
  scale = step_guard.FIRST_SCALE
  guard.update(tf.constant(np.inf), tf.constant(1.0))
  guard.update(tf.constant(np.nan), tf.constant(1.0))
  assert float(guard.loss_scale) == scale / 4
  for _ in range(1999):
    guard.update(tf.constant(1.0), tf.constant(0.0))
  assert float(guard.loss_scale) == scale / 4
  guard.update(tf.constant(1.0), tf.constant(0.0))
  assert float(guard.loss_scale) == scale / 2
  for _ in range(40):
    guard.update(tf.constant(np.inf), tf.constant(1.0))
  assert float(guard.loss_scale) == 1


def test_the_loss_scale_begins_anew_where_the_precision_changes():
  guard = step_guard.StepGuard(0.0, scales_loss=True)
  guard.loss_scale.assign(8.0)
  guard.fit_precision()
  assert float(guard.loss_scale) == 8
  guard.loss_scale.assign(0.0)  # As a run in another precision has it.
  guard.fit_precision()
  assert float(guard.loss_scale) == step_guard.FIRST_SCALE
  other = step_guard.StepGuard(0.0)
  other.loss_scale.assign(8.0)
  other.fit_precision()
  assert float(other.loss_scale) == 0
