"""Metrics for Prometheus, with the names of TensorFlow Serving."""

import math
import re

import grpc
import httpx
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from iddpm_tf.serving import messages
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import model_manager
from iddpm_tf.serving.server import request_metrics
from iddpm_tf.utils import progress

COUNT, LATENCY = ":tensorflow:serving:request_count", ":tensorflow:serving:request_latency"
PATH = "/monitoring/prometheus/metrics"
_LABEL = r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"'
_SAMPLE = re.compile(rf"([a-zA-Z_:][\w:]*){{({_LABEL}(?:,{_LABEL})*)}} ([0-9.e+]+)")


def parse(text):
  """Returns `{(name, labels): value}`, as Prometheus reads its text format."""
  assert text.endswith("\n")
  samples, types = {}, {}
  for line in text.splitlines():
    if line.startswith("# TYPE "):
      _, _, name, types[name] = line.split(" ")
    elif not line.startswith("# HELP "):
      match = _SAMPLE.fullmatch(line)
      assert match, line
      labels = frozenset(re.findall(_LABEL, match[2]))
      assert (match[1], labels) not in samples
      samples[match[1], labels] = float(match[match.re.groups])
  assert types == {COUNT: "counter", LATENCY: "histogram"}
  return samples


def value(samples, name, **labels):
  return samples.get((name, frozenset(labels.items())), 0)


@pytest.fixture(name="metrics")
def fixture_metrics(tmp_path):
  models = model_manager.ModelManager(tmp_path, progress=progress.Silent())
  models._states["m", 1] = model_manager.State("AVAILABLE")
  return request_metrics.RequestMetrics(models)


def test_the_buckets_are_those_of_tensorflow_serving(metrics):
  for latency in (1, 10, 11, 18, 700_000, 10**12):
    metrics._add("m", "REST", "OK", latency)
  samples = parse(metrics.text())
  labels = {"model_name": "m", "API": "predict", "entrypoint": "REST"}
  buckets = {
    float(dict(key)["le"]): count
    for (name, key), count in samples.items()
    if name == f"{LATENCY}_bucket"
  }
  bounds = sorted(buckets)
  np.testing.assert_allclose(bounds[:-1], 10 * 1.8 ** np.arange(33), rtol=1e-5)
  assert bounds[-1] == math.inf and [buckets[bound] for bound in bounds[:3]] == [2, 4, 4]
  assert buckets[708235] == 5 and buckets[bounds[-2]] == 5 and buckets[math.inf] == 6
  assert value(samples, f"{LATENCY}_count", **labels) == 6
  assert value(samples, f"{LATENCY}_sum", **labels) == 1_000_000_700_040
  assert 'le="708235"' in metrics.text() and 'le="+Inf"' in metrics.text()


@pytest.mark.parametrize(
  "error, status",
  [
    (errors.invalid_argument("seed", "a number", "none"), "INVALID_ARGUMENT"),
    (errors.RequestError("TOO_LARGE", "too large"), "RESOURCE_EXHAUSTED"),
    (errors.RequestError("TOO_SLOW", "too slow"), "DEADLINE_EXCEEDED"),
    (ZeroDivisionError(), "INTERNAL"),
  ],
)
def test_a_request_that_fails_is_counted_without_its_latency(metrics, error, status):
  with pytest.raises(type(error)), metrics.measured("m", "GRPC"):
    raise error
  samples = parse(metrics.text())
  assert samples == {(COUNT, frozenset({("model_name", "m"), ("status", status)})): 1}


def test_names_of_models_that_do_not_exist_are_not_kept(metrics):
  before = metrics.text()
  for number in range(100):
    with metrics.measured(f"n{number}", "REST"):
      pass
  assert metrics.text() == before and not metrics._requests and not metrics._latencies


def test_names_are_escaped(metrics):
  name = 'a"b\\c\nd'
  metrics._models._states[name, 1] = model_manager.State("AVAILABLE")
  with metrics.measured(name, "REST"):
    pass
  escaped = r"a\"b\\c\nd"
  assert value(parse(metrics.text()), COUNT, model_name=escaped, status="OK") == 1


def scrape(server):
  response = httpx.get(server.url + PATH)
  assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
  return parse(response.text)


def test_both_interfaces_count(server):
  before = scrape(server)
  url, body = f"{server.url}/v1/models/small:predict", {"seed": [0], "label": [0]}
  for _ in range(2):
    httpx.post(url, json={"inputs": body, "signature_name": "ddim_5"}).raise_for_status()
  assert httpx.post(url, json={"inputs": body | {"label": [10]}}).status_code == 400
  assert httpx.post(url, content=b"{").status_code == 400
  assert httpx.post(url.replace("small:", "other:"), json={}).status_code == 404
  assert httpx.post(url.replace(":predict", "/versions/7:predict"), json={}).status_code == 404
  with grpc.insecure_channel(server.address) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    arrays = {"seed": np.zeros(1, np.int64), "label": np.zeros(1, np.int32)}
    stub.Predict(messages.predict_request("small", "ddim_5", arrays))
    for model, signature in (("small", "ddim_6"), ("other", "ddim_5")):
      with pytest.raises(grpc.RpcError):
        stub.Predict(messages.predict_request(model, signature, arrays))
  after = scrape(server)

  def difference(name, **labels):
    return value(after, name, **labels) - value(before, name, **labels)

  assert difference(COUNT, model_name="small", status="OK") == 3
  assert difference(COUNT, model_name="small", status="INVALID_ARGUMENT") == 3
  assert difference(COUNT, model_name="small", status="NOT_FOUND") == 1
  for interface, method, count in (("REST", "predict", 2), ("GRPC", "Predict", 1)):
    labels = {"model_name": "small", "API": method, "entrypoint": interface}
    assert difference(f"{LATENCY}_count", **labels) == count
    assert difference(f"{LATENCY}_bucket", **labels, le="+Inf") == count
    assert 100 * count < difference(f"{LATENCY}_sum", **labels) < 60e6
  # Models that do not exist are not counted.
  counted = {key for key, number in after.items() if number != before.get(key)}
  assert {dict(labels)["model_name"] for _, labels in counted} == {"small"}
