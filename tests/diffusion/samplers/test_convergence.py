"""The order of convergence of the solvers, for data whose differential equation has a solution."""

import numpy as np
import pytest

from benchmarks import solver_convergence

STEPS = (21, 41, 81)


@pytest.mark.parametrize(
  "name, order, data",
  [
    ("dpmpp_2m", 2, "gaussian"),
    ("dpmpp_2m", 2, "mixture"),
    ("dpmpp_2s", 2, "mixture"),
    ("heun", 2, "mixture"),
    ("ddim", 1, "gaussian"),
    ("ddim", 1, "mixture"),
  ],
)
def test_the_error_falls_with_the_order_of_the_solver(name, order, data):
  errors = solver_convergence.measure(name, solver_convergence.DATA[data], STEPS)
  orders = -np.diff(np.log(errors)) / np.diff(np.log(STEPS))
  assert np.all(orders > order - 0.2), orders
  if order == 1:
    assert np.all(orders < 1.3), orders


def test_solvers_of_second_order_need_fewer_steps():
  mixture = solver_convergence.DATA["mixture"]
  errors = [solver_convergence.measure(name, mixture, [21]) for name in ("dpmpp_2m", "ddim")]
  assert 4 * errors[0] < errors[1]
