"""The answer to health checks."""

import asyncio

import httpx

from iddpm_tf.serving.server import model_manager
from iddpm_tf.serving.server import predictor as predictor_lib
from iddpm_tf.serving.server import rest_app
from iddpm_tf.utils import progress
from tests.serving.server import test_limits


def health_of(models):
  predictor = predictor_lib.Predictor(models, max_batch=1, max_queue=1)
  app = rest_app.make_app(predictor, 100)

  async def get():
    async with test_limits.client_of(app) as client:
      return await client.get("/healthz")

  response = asyncio.run(get())
  predictor.close()
  return response.status_code, response.json()


def test_a_server_is_healthy_while_it_has_a_model(tmp_path):
  models = model_manager.ModelManager(tmp_path, progress=progress.Silent())
  assert health_of(models) == (503, {"error": "no model is loaded"})
  models._current["m"] = test_limits.SlowServable()
  assert health_of(models) == (200, {"status": "ok", "models": ["m"]})
  del models._current["m"]
  assert health_of(models)[0] == 503


def test_the_shared_server_is_healthy(server):
  response = httpx.get(f"{server.url}/healthz")
  assert response.status_code == 200 and response.json()["models"] == ["small"]
  assert httpx.head(f"{server.url}/healthz").status_code == 200
