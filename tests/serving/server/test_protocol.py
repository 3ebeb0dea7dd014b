"""The protocol of TensorFlow Serving, by gRPC and by REST, in the development server."""

import base64
import concurrent.futures
import functools
import shutil
import time

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from iddpm_tf.serving import clients as clients_lib
from iddpm_tf.serving import config as serving_config
from iddpm_tf.serving import messages
from iddpm_tf.serving import servable
from tests.serving import conftest
from tests.serving.conftest import require_same

ONCE = clients_lib.RetryPolicy(timeout=60, attempts=1)
GOOD = {"seed": [0], "label": [0]}


def arrays(*seeds):
  return {"seed": np.array(seeds, np.int64), "label": np.array(seeds, np.int32) % 10}


@pytest.fixture(name="clients", scope="module")
def fixture_clients(server):
  with (
    clients_lib.connect(model="small", address=server.address, retry=ONCE) as by_grpc,
    clients_lib.connect(model="small", url=server.url, retry=ONCE) as by_rest,
  ):
    yield {"grpc": by_grpc, "rest": by_rest}


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize("name", ["ancestral_5", "ddim_5"])
@pytest.mark.parametrize("seeds", [range(12), range(2, 9), [11]], ids=["twelve", "seven", "alone"])
def test_images_are_those_of_the_model(clients, drawn, protocol, name, seeds):
  (image,) = clients[protocol].predict(name, arrays(*seeds)).values()
  require_same(image.astype(np.uint8), drawn[name][list(seeds)])
  if len(seeds) == 12:
    np.testing.assert_array_equal(image, drawn[name])


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_png_and_trajectory(clients, drawn, protocol):
  (files,) = clients[protocol].predict("png_ddim_5", arrays(*range(12))).values()
  np.testing.assert_array_equal([tf.io.decode_png(file) for file in files], drawn["ddim_5"])
  (frames,) = clients[protocol].predict("ddim_5_trajectory", arrays(*range(12))).values()
  np.testing.assert_array_equal(frames[:, -1], drawn["ddim_5"])


def test_both_protocols_have_the_same_metadata(clients):
  signatures = clients["grpc"].signatures()
  assert signatures == clients["rest"].signatures()
  assert signatures["serving_default"] == ("label", "seed") and "png_ddim_5" in signatures


def test_both_protocols_have_the_status(server):
  stub = model_service_pb2_grpc.ModelServiceStub(grpc.insecure_channel(server.address))
  request = get_model_status_pb2.GetModelStatusRequest()
  request.model_spec.name = "small"
  (state,) = stub.GetModelStatus(request).model_version_status
  assert state.version == 1 and state.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
  (state,) = httpx.get(f"{server.url}/v1/models/small").json()["model_version_status"]
  assert state["version"] == "1" and state["state"] == "AVAILABLE"
  assert httpx.get(f"{server.url}/v1/models/small/versions/1").status_code == 200


def test_rest_accepts_rows_and_columns(server, drawn):
  url = f"{server.url}/v1/models/small/versions/1:predict"
  rows = httpx.post(
    url,
    json={
      "instances": [{"seed": 3, "label": 3}, {"seed": 4, "label": 4}],
      "signature_name": "ddim_5",
    },
  ).json()["predictions"]
  columns = httpx.post(
    url, json={"inputs": {"seed": [3, 4], "label": [3, 4]}, "signature_name": "ddim_5"}
  ).json()["outputs"]
  assert rows == columns
  require_same(np.array(rows), drawn["ddim_5"][3:5])
  (file,) = httpx.post(
    url, json={"instances": [{"seed": 3, "label": 3}], "signature_name": "png_ddim_5"}
  ).json()["predictions"]
  assert base64.b64decode(file["b64"])[:4] == b"\x89PNG"


def test_the_page_can_ask_how_long_a_request_should_take(clients, server):
  for _ in range(2):  # The warm-up has run each signature once.
    clients["rest"].predict("ddim_5", arrays(0, 1, 2))
  query = {"model": "small", "signature": "ddim_5", "count": 3}
  seconds = httpx.get(f"{server.url}/estimate", params=query).json()["seconds"]
  assert 0 < seconds < 60
  for change, status in (({"count": 0}, 400), ({"model": "large"}, 404), ({"signature": "a"}, 400)):
    response = httpx.get(f"{server.url}/estimate", params=query | change)
    assert response.status_code == status and "expected" in response.json()["error"]


@pytest.mark.parametrize(
  "body, status, message",
  [
    ({"inputs": GOOD | {"label": [10]}}, 400, "label: expected 0 to 9, received 10"),
    ({"inputs": GOOD | {"seed": [0.5]}}, 400, "seed: expected integers"),
    ({"inputs": GOOD | {"seed": ["a"]}}, 400, "seed: expected integers"),
    ({"inputs": GOOD | {"label": [2**40]}}, 400, "label: expected integers from"),
    ({"inputs": GOOD | {"seed": [2**70]}}, 400, "seed: expected integers"),
    ({"inputs": GOOD | {"seed": [[0]]}}, 400, "seed: expected the shape [N], received [1, 1]"),
    (
      {"inputs": GOOD | {"seed": [[0], [1, 2]]}},
      400,
      "seed: expected the shape [N], received [2, 1]",
    ),
    ({"inputs": GOOD | {"seed": 0}}, 400, "seed: expected the shape [N], received []"),
    ({"inputs": GOOD | {"seed": [0, 1]}}, 400, "inputs: expected the same number of each"),
    (
      {"inputs": {"seed": [], "label": []}},
      400,
      "inputs: expected 1 to 32 images, received 0",
    ),
    (
      {"inputs": {"seed": [0] * 33, "label": [0] * 33}},
      400,
      "inputs: expected 1 to 32 images, received 33",
    ),
    ({"inputs": {"seed": [0]}}, 400, "inputs: expected label, seed, received seed"),
    ({"inputs": GOOD | {"size": [1]}}, 400, "inputs: expected label, seed"),
    ({"inputs": GOOD, "signature_name": "ddim_6"}, 400, "signature_name: expected one of"),
    ({"inputs": GOOD, "signature_name": 5}, 400, "signature_name: expected a string"),
    ({"inputs": GOOD | {"seed": [{"b64": "!"}]}}, 400, 'expected {"b64": BASE64}'),
    ({"inputs": GOOD | {"seed": [{"b64": "QUJD"}]}}, 400, "seed: expected integers"),
    ({"inputs": GOOD | {"seed": [{"b65": "QUJD"}]}}, 400, 'expected {"b64": BASE64}'),
    ({"inputs": GOOD | {"seed": [None]}}, 400, "seed: expected integers"),
    ({"inputs": GOOD | {"seed": [True]}}, 400, "seed: expected numbers, received true"),
    (
      {"inputs": GOOD, "signature_name": False},
      400,
      "signature_name: expected a string, received false",
    ),
    ({"instances": [[[0]]]}, 400, "inputs: expected label, seed"),
    (
      {"instances": [{"seed": 0, "label": 0}, {"seed": 1}]},
      400,
      "instances: expected label, seed in each row",
    ),
    ({"instances": 5}, 400, "instances: expected a list"),
    ({"instances": []}, 400, "inputs: expected label, seed"),
    ({"instances": [], "inputs": []}, 400, "either instances or inputs"),
    ({}, 400, "either instances or inputs"),
    ([], 400, "a JSON object"),
  ],
)
def test_bad_requests_are_refused_with_a_reason(server, body, status, message):
  response = httpx.post(f"{server.url}/v1/models/small:predict", json=body)
  assert response.status_code == status
  assert message in response.json()["error"] and len(response.json()["error"].splitlines()) == 1


@pytest.mark.parametrize(
  "content, status",
  [
    (b'{"inputs": ' + b"[" * 800 + b"]" * 800 + b"}", 400),
    (b'{"instances": [' + b"[" * 800 + b"]" * 800 + b"]}", 400),
    (b'{"inputs": {"\\ud800": [0]}}', 400),
    (b'{"inputs": {"seed": [0]}, "signature_name": "\\udfff"}', 400),
    (b'{"instances": [{"seed": 0}, ' + b"[" * 900 + b"]" * 900 + b"]}", 400),
    (b"", 400),
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b"[" * 100_000, 400),
    (b"NaN", 400),
    (b"0" * (16 * 2**20 + 1), 413),
  ],
)
def test_other_content_is_refused(server, content, status):
  response = httpx.post(f"{server.url}/v1/models/small:predict", content=content, timeout=60)
  assert response.status_code == status and response.json()["error"]


@pytest.mark.parametrize(
  "method, path, status",
  [
    ("GET", "/v1/models/large", 404),
    ("GET", "/v1/models/small/versions/7", 404),
    ("GET", "/nothing", 404),
    ("POST", "/v1/models/large:predict", 404),
    ("POST", "/v1/models/small/versions/7:predict", 404),
    ("GET", "/v1/models/small/versions/" + "9" * 5000, 404),
    ("GET", "/v1/models/small/versions/-1/metadata", 404),
    ("GET", "/v1/models/small/versions/1:predict", 404),
    ("GET", "/v1/models/small:predict", 404),
    ("POST", "/v1/models/small", 405),
    ("GET", "/v1/models/large/metadata", 404),
  ],
)
def test_other_paths_are_refused(server, method, path, status):
  response = httpx.request(
    method, server.url + path, json={"inputs": GOOD} if method == "POST" else None
  )
  assert response.status_code == status and response.json()["error"]


def request_of(inputs, **spec):
  request = messages.predict_request(spec.pop("name", "small"), "ddim_5", inputs)
  for name, value in spec.items():
    setattr(request.model_spec, name, value)
  return request


def with_shape(*shape):
  """Returns a message of a few bytes that declares a shape for its seeds."""
  request = request_of(arrays(0))
  del request.inputs["seed"].tensor_shape.dim[:]
  for size in shape:
    request.inputs["seed"].tensor_shape.dim.add(size=size)
  return request


def with_type(number):
  request = request_of(arrays(0))
  request.inputs["seed"].dtype = number
  return request


@pytest.mark.parametrize(
  "make_request, code, message",
  [
    (
      lambda: request_of(arrays(0) | {"label": np.array([10], np.int32)}),
      "INVALID_ARGUMENT",
      "label: expected 0 to 9",
    ),
    (
      lambda: request_of(arrays(0) | {"seed": np.array([0], np.int32)}),
      "INVALID_ARGUMENT",
      "seed: expected int64, received DT_INT32",
    ),
    (
      lambda: request_of(arrays(0) | {"seed": np.array(0)}),
      "INVALID_ARGUMENT",
      "seed: expected the shape [N], received []",
    ),
    (
      lambda: request_of(arrays(0) | {"seed": np.zeros([1, 1], np.int64)}),
      "INVALID_ARGUMENT",
      "seed: expected the shape [N]",
    ),
    (lambda: request_of(arrays()), "INVALID_ARGUMENT", "1 to 32 images, received 0"),
    (lambda: request_of(arrays(*range(33))), "INVALID_ARGUMENT", "received 33"),
    (lambda: with_shape(2**40), "INVALID_ARGUMENT", "1 to 32 images, received"),
    (
      lambda: with_shape(16, 2**24),
      "INVALID_ARGUMENT",
      "seed: expected the shape [N], received [16, 16777216]",
    ),
    (lambda: with_shape(-1), "INVALID_ARGUMENT", "seed: expected the shape"),
    (lambda: with_type(9999), "INVALID_ARGUMENT", "seed: expected int64, received 9999"),
    (
      lambda: request_of(arrays(0), signature_name="x" * 20_000),
      "INVALID_ARGUMENT",
      "signature_name: expected one of",
    ),
    (lambda: with_shape(2), "INVALID_ARGUMENT", "inputs: expected the same number of each"),
    (
      lambda: request_of({"seed": np.zeros(1, np.int64)}),
      "INVALID_ARGUMENT",
      "inputs: expected label, seed",
    ),
    (
      lambda: request_of(arrays(0), signature_name="ddim_6"),
      "INVALID_ARGUMENT",
      "signature_name: expected one of",
    ),
    (lambda: request_of(arrays(0), name="large"), "NOT_FOUND", "'large'"),
    (lambda: request_of(arrays(0), version_label="stable"), "INVALID_ARGUMENT", "version_label"),
  ],
)
def test_bad_messages_are_refused_with_a_reason(server, clients, make_request, code, message):
  stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server.address))
  with pytest.raises(grpc.RpcError) as error:
    stub.Predict(make_request(), timeout=60)
  assert error.value.code().name == code and message in error.value.details()
  # The server continues.
  assert clients["grpc"].predict("ddim_5", arrays(0))["image"].shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
  "content, code",
  [
    (b"\xff\xff\xff\xff", "INVALID_ARGUMENT"),
    (b"", "NOT_FOUND"),
    (b"x" * (16 * 2**20 + 1), "RESOURCE_EXHAUSTED"),
  ],
)
def test_bytes_that_are_not_a_message_are_refused(server, content, code):
  call = grpc.insecure_channel(server.address).unary_unary(
    "/tensorflow.serving.PredictionService/Predict",
    request_serializer=None,
    response_deserializer=None,
  )
  with pytest.raises(grpc.RpcError) as error:
    call(content, timeout=60)
  assert error.value.code().name == code and error.value.details()


def test_an_output_filter_selects_outputs(server):
  stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server.address))
  request = request_of(arrays(0))
  request.output_filter.append("image")
  assert set(stub.Predict(request).outputs) == {"image"}
  request.output_filter.append("nothing")
  with pytest.raises(grpc.RpcError, match="output_filter: expected image"):
    stub.Predict(request)


def test_a_new_version_takes_over_under_load(server, models_dir):
  """At least 100 requests, until version 2 has answered 50: each has the images of its version."""
  sampler = conftest.plain_sampler("ddim:5")
  arguments = [tf.constant(array) for array in conftest.INPUTS.values()]
  expected = {1: sampler.draw(*arguments).numpy()}
  config = serving_config.ServableConfig(png=False)
  export = functools.partial(
    servable.export, [sampler], models_dir / "changing", assets={}, config=config
  )
  export()
  for weight in sampler.weights:
    weight.assign(0.9 * weight)
  expected[2] = sampler.draw(*arguments).numpy()
  assert np.abs(expected[2].astype(int) - expected[1]).max() > 1  # The versions differ.
  stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server.address))
  answers, deadline = [], time.monotonic() + 90

  def send_requests(seed):
    while len(answers) < 100 or sum(version == 2 for version, *_ in answers) < 50:
      assert time.monotonic() < deadline
      response = stub.Predict(request_of(arrays(seed), name="changing"), timeout=60)
      image = tf.make_ndarray(response.outputs["image"])[0]
      answers.append((response.model_spec.version.value, seed, image))
      time.sleep(0.02)

  await_version_1(server)
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    jobs = [pool.submit(send_requests, seed) for seed in range(8)]
    export()
    for job in jobs:
      job.result()
  shutil.rmtree(models_dir / "changing")
  assert {version for version, *_ in answers} == {1, 2}
  for version, seed, image in answers:
    assert np.abs(image.astype(int) - expected[version][seed]).max() <= 1


def await_version_1(server):
  """Waits until the server, which looks for new models now and then, has found it."""
  for _ in range(200):
    response = httpx.get(f"{server.url}/v1/models/changing")
    if response.status_code == 200 and "AVAILABLE" in response.text:
      return
    time.sleep(0.1)
  raise AssertionError("the server has not loaded the model")
