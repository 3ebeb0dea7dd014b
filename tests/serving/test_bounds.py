"""What the development server holds at most, in this process: orders, bytes, and what it says of strange ones."""

import asyncio
import threading

import httpx
import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import models as models_lib
from iddpm_tf.serving.server import predictor as predictor_lib
from iddpm_tf.serving.server import rest_app

SEED = {"seed": np.zeros(1, np.int64)}


class Slow:
  """A servable that draws once it may."""

  name, version = "m", 1

  def __init__(self):
    self.may, self.drawn = threading.Event(), []
    self.specs = {"seed": tf.TensorSpec([None], tf.int64)}

  def inputs(self, name):
    del name
    return self.specs

  def run(self, name, arrays, outputs):
    del name, outputs
    assert self.may.wait(30)
    self.drawn.append(arrays["seed"])
    return {"image": arrays["seed"]}


@pytest.fixture(name="slow")
def fixture_slow():
  servable = Slow()
  yield servable
  servable.may.set()


@pytest.fixture(name="predictor")
def fixture_predictor(tmp_path, slow):
  made = predictor_lib.Predictor(
    models_lib.Models(tmp_path, say=lambda text: None), max_batch=4, max_queue=3
  )
  made.models._current["m"] = slow
  yield made
  slow.may.set()
  made.close()


def test_what_is_given_up_keeps_its_place_until_it_is_passed_over(predictor, slow):
  orders = [predictor.submit(slow, "", SEED) for _ in range(3)]
  for order in orders[1:]:
    order.give_up()
  for _ in range(100):
    with pytest.raises(errors.Refused, match="3 requests are drawn or wait already"):
      predictor.submit(slow, "", SEED)
  slow.may.set()
  assert orders[0].future.result(30)["image"] == [0]
  with pytest.raises(errors.Refused, match="given up"):
    orders[1].future.result(30)
  assert predictor.submit(slow, "", SEED).future.result(30) and len(slow.drawn) == 2


@pytest.mark.parametrize(
  "value",
  [["a" * 10_000, *["b"] * 3], [[0] * 2] * 2, [b"ab"], [0.5], [None], [10**30], "a", {"a": 1}],
)
def test_lists_are_looked_at_before_they_are_arrays(predictor, slow, value, monkeypatch):
  def never(*_):
    raise AssertionError("made")

  monkeypatch.setattr(predictor_lib.np, "array", never)
  with pytest.raises(errors.Refused, match="^seed: expected") as refused:
    predictor.submit(slow, "", {"seed": value})
  assert len(refused.value.message) < 600


@pytest.mark.parametrize(
  "dtype, value, fits",
  [
    (tf.uint8, [0, 255], True),
    (tf.uint8, [0, 256], False),
    (tf.float32, [0, 0.5], True),
    (tf.float32, ["a"], False),
    (tf.string, ["a"], False),
    (tf.bool, [1], False),
  ],
)
def test_other_types_of_inputs(predictor, slow, dtype, value, fits):
  slow.specs = {"seed": tf.TensorSpec([None], dtype)}
  slow.may.set()
  if fits:
    predictor.submit(slow, "", {"seed": value}).future.result(30)
    assert slow.drawn[0].dtype == dtype.as_numpy_dtype and slow.drawn[0].tolist() == value
  else:
    with pytest.raises(errors.Refused, match="^seed: expected"):
      predictor.submit(slow, "", {"seed": value})


def test_an_input_that_is_no_batch_is_refused(predictor, slow):
  slow.specs = {"seed": tf.TensorSpec([], tf.int64)}
  with pytest.raises(errors.Refused, match=r"seed: expected the shape \[N, ...\], received \[\]"):
    predictor.submit(slow, "", {"seed": 0})


def test_so_many_bytes_come_at_once(predictor):
  """Eight of the largest requests; those beyond are asked to come later, until the others are through."""
  app = rest_app.make_app(predictor, max_bytes=100)

  async def asked():
    may = asyncio.Event()

    async def content():
      yield b"x" * 95
      await may.wait()
      yield b"x"

    async with httpx.AsyncClient(
      transport=httpx.ASGITransport(app), base_url="http://server"
    ) as client:

      async def post():
        return (await client.post("/v1/models/m:predict", content=content())).status_code

      first = [asyncio.create_task(post()) for _ in range(8)]
      await asyncio.sleep(0.1)
      late = await post()
      may.set()
      return [await one for one in first], late, await post()

  first, late, after = asyncio.run(asked())
  assert first == [400] * 8 and late == 429 and after == 400  # 96 bytes that are no JSON.


def test_a_request_that_does_not_come_is_given_up(predictor, monkeypatch):
  monkeypatch.setattr(rest_app, "_PATIENCE", 0.1)

  async def content():
    yield b"{"
    await asyncio.sleep(30)

  async def asked():
    async with httpx.AsyncClient(
      transport=httpx.ASGITransport(rest_app.make_app(predictor, 100)), base_url="http://server"
    ) as client:
      return await client.post("/v1/models/m:predict", content=content())

  response = asyncio.run(asked())
  assert response.status_code == 408 and "expected within 0.1 s" in response.json()["error"]
