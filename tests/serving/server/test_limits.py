"""The limits of the development server, in this process: requests in the queue, bytes, and time."""

import asyncio
import threading

import httpx
import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import loaded_servable
from iddpm_tf.serving.server import model_manager
from iddpm_tf.serving.server import predictor as predictor_lib
from iddpm_tf.serving.server import rest_app
from iddpm_tf.utils import progress

SEED = {"seed": np.zeros(1, np.int64)}


class SlowServable:
  """A model that draws once `may_draw` is set."""

  name, version = "m", 1

  def __init__(self):
    self.may_draw, self.drawn = threading.Event(), []
    self.specs = {"seed": tf.TensorSpec([None], tf.int64)}
    self.counts, self.has_begun = None, threading.Event()

  def inputs(self, name):
    del name
    return self.specs

  def step_counts(self, name):
    del name
    return self.counts

  def run(self, name, arrays, outputs):
    del name, outputs
    self.has_begun.set()
    assert self.may_draw.wait(30)
    self.drawn.append(arrays["seed"])
    return {"image": arrays["seed"]}


@pytest.fixture(name="slow")
def fixture_slow():
  servable = SlowServable()
  yield servable
  servable.may_draw.set()


@pytest.fixture(name="predictor")
def fixture_predictor(tmp_path, slow):
  models = model_manager.ModelManager(tmp_path, progress=progress.Silent())
  models._current["m"] = slow
  predictor = predictor_lib.Predictor(models, max_batch=4, max_queue=3)
  yield predictor
  slow.may_draw.set()
  predictor.close()


def test_a_cancelled_request_keeps_its_place_in_the_queue(predictor, slow):
  jobs = [predictor.submit(slow, "", SEED) for _ in range(3)]
  for job in jobs[1:]:
    job.cancel()
  for _ in range(100):
    with pytest.raises(errors.RequestError, match="the queue of 3 requests is full"):
      predictor.submit(slow, "", SEED)
  slow.may_draw.set()
  assert jobs[0].future.result(30)["image"] == [0]
  with pytest.raises(errors.RequestError, match="cancelled"):
    jobs[1].future.result(30)
  assert predictor.submit(slow, "", SEED).future.result(30) and len(slow.drawn) == 2


def test_each_request_has_its_own_progress(predictor, slow):
  counts = loaded_servable.StepCounts
  slow.counts = counts(200, 100)
  jobs = [predictor.submit(slow, "", SEED) for _ in range(3)]
  assert slow.has_begun.wait(30)
  assert [predictor.progress(job) for job in jobs] == [
    (0, 1, 100),
    (1, None, None),
    (2, None, None),
  ]
  slow.counts = counts(237, 100)
  assert predictor.progress(jobs[0]) == (0, 37, 100)
  slow.counts = counts(999, 100)  # For example, a request by another route.
  assert predictor.progress(jobs[0]) == (0, 100, 100)
  jobs[1].cancel()
  slow.may_draw.set()
  jobs[2].future.result(30)
  assert [predictor.progress(job) for job in jobs] == [(0, None, None)] * 3


def test_an_export_without_a_counter_has_no_steps(predictor, slow):
  job = predictor.submit(slow, "", SEED)
  assert slow.has_begun.wait(30)
  assert predictor.progress(job) == (0, None, None)


def test_a_client_follows_its_request_by_its_id(predictor, slow):
  slow.counts = loaded_servable.StepCounts(0, 5)
  app = rest_app.make_app(predictor, max_bytes=1000)

  async def follow():
    async with client_of(app) as client:

      async def post(request_id):
        headers = {"x-request-id": request_id}
        url, body = "/v1/models/m:predict", {"instances": [{"seed": 1}]}
        return (await client.post(url, json=body, headers=headers)).status_code

      async def progress(request_id):
        return (await client.get(f"/progress/{request_id}")).json()

      before = await progress("a")
      tasks = []
      for request_id, waiting in (("a", {"ahead": 0, "step": 1}), ("b", {"ahead": 1})):
        tasks.append(asyncio.create_task(post(request_id)))
        while not waiting.items() <= (await progress(request_id)).items():
          await asyncio.sleep(0.01)
      slow.counts = loaded_servable.StepCounts(3, 5)
      meanwhile = [await progress(each) for each in ("a", "b", "c")]
      slow.may_draw.set()
      assert [await task for task in tasks] == [200, 200]
      refused = [await post(each) for each in ("", "a b", "x" * 65)]
      return before, meanwhile, await progress("a"), refused

  unknown = {"ahead": None, "step": None, "steps": None}
  before, meanwhile, after, refused = asyncio.run(asyncio.wait_for(follow(), 60))
  assert before == after == unknown and refused == [400] * 3
  assert meanwhile == [
    {"ahead": 0, "step": 3, "steps": 5},
    {"ahead": 1, "step": None, "steps": None},
    unknown,
  ]


@pytest.mark.parametrize(
  "value",
  [["a" * 10_000, *["b"] * 3], [[0] * 2] * 2, [b"ab"], [0.5], [None], [10**30], "a", {"a": 1}],
)
def test_lists_are_checked_before_they_become_arrays(predictor, slow, value, monkeypatch):
  def fail(*_):
    raise AssertionError("An array was made.")

  monkeypatch.setattr(predictor_lib.np, "array", fail)
  with pytest.raises(errors.RequestError, match=r"^seed: expected") as error:
    predictor.submit(slow, "", {"seed": value})
  assert len(error.value.message) < 600


@pytest.mark.parametrize(
  "dtype, value, is_valid",
  [
    (tf.uint8, [0, 255], True),
    (tf.uint8, [0, 256], False),
    (tf.float32, [0, 0.5], True),
    (tf.float32, ["a"], False),
    (tf.string, ["a"], False),
    (tf.bool, [1], False),
  ],
)
def test_inputs_of_other_types(predictor, slow, dtype, value, is_valid):
  slow.specs = {"seed": tf.TensorSpec([None], dtype)}
  slow.may_draw.set()
  if is_valid:
    predictor.submit(slow, "", {"seed": value}).future.result(30)
    assert slow.drawn[0].dtype == dtype.as_numpy_dtype and slow.drawn[0].tolist() == value
  else:
    with pytest.raises(errors.RequestError, match=r"^seed: expected"):
      predictor.submit(slow, "", {"seed": value})


def test_an_input_without_a_batch_dimension_is_refused(predictor, slow):
  slow.specs = {"seed": tf.TensorSpec([], tf.int64)}
  with pytest.raises(
    errors.RequestError, match=r"seed: expected the shape \[N, ...\], received \[\]"
  ):
    predictor.submit(slow, "", {"seed": 0})


def client_of(app):
  """Returns a client of an ASGI application, without a network."""
  return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


def test_the_bytes_of_concurrent_requests_are_limited(predictor):
  """Eight of the largest requests may arrive at once. Further ones are refused until these end."""
  app = rest_app.make_app(predictor, max_bytes=100)

  async def send_requests():
    may_end = asyncio.Event()

    async def content():
      yield b"x" * 95
      await may_end.wait()
      yield b"x"

    async with client_of(app) as client:

      async def post():
        return (await client.post("/v1/models/m:predict", content=content())).status_code

      first = [asyncio.create_task(post()) for _ in range(8)]
      await asyncio.sleep(0.1)
      late = await post()
      may_end.set()
      return [await task for task in first], late, await post()

  first, late, after = asyncio.run(send_requests())
  # The others are refused as well, because 96 bytes of x are not JSON.
  assert first == [400] * 8 and late == 429 and after == 400


def test_a_request_that_does_not_arrive_is_given_up(predictor, monkeypatch):
  monkeypatch.setattr(rest_app, "_RECEIVE_SECONDS", 0.1)

  async def content():
    yield b"{"
    await asyncio.sleep(30)

  async def send_request():
    async with client_of(rest_app.make_app(predictor, 100)) as client:
      return await client.post("/v1/models/m:predict", content=content())

  response = asyncio.run(send_request())
  assert response.status_code == 408 and "within 0.1 s" in response.json()["error"]
