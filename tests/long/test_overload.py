"""The development server under far more than it can draw: make test-serving."""

import concurrent.futures
import time

import grpc
import httpx
import numpy as np

from iddpm_tf.serving import client as client_lib
from tests.serving import conftest

fixture_model_dir, fixture_models_dir = conftest.fixture_model_dir, conftest.fixture_models_dir
CLIENTS, SECONDS, IMAGES = 50, 60, 32


def memory(pid):
  """MB of a process."""
  with open(f"/proc/{pid}/status", encoding="utf8") as file:
    return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def body(first):
  return {"seed": np.arange(first, first + IMAGES), "label": np.arange(IMAGES, dtype=np.int32) % 10}


def by_rest(url, until):
  """Statuses of requests one after the other."""
  found = []
  with httpx.Client(timeout=120) as http:
    while time.monotonic() < until:
      inputs = {name: array.tolist() for name, array in body(len(found)).items()}
      found.append(http.post(f"{url}/v1/models/small:predict", json={"inputs": inputs}).status_code)
  return found


def by_grpc(address, until):
  found = []
  client = client_lib.GrpcClient(address, "small", patience=client_lib.Patience(120, 1))
  while time.monotonic() < until:
    try:
      client.predict("", body(len(found)))
      found.append("OK")
    except client_lib.Busy as error:
      assert grpc.StatusCode.RESOURCE_EXHAUSTED.name in str(error)
      found.append("RESOURCE_EXHAUSTED")
  client.close()
  return found


def test_fifty_clients_for_a_minute(models_dir, capsys):
  server = conftest.Server(models_dir, "--max_queue=8")
  (calm,) = client_lib.RestClient(server.url, "small").predict("", body(0)).values()
  before = memory(server.process.pid)
  until, peak = time.monotonic() + SECONDS, before
  with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
    asked = [
      pool.submit(*((by_rest, server.url, until) if i % 2 else (by_grpc, server.address, until)))
      for i in range(CLIENTS)
    ]
    while not all(one.done() for one in asked):
      peak = max(peak, memory(server.process.pid))
      time.sleep(0.5)
  answers = [answer for one in asked for answer in one.result()]
  counts = {answer: answers.count(answer) for answer in sorted(set(answers), key=str)}
  start = time.monotonic()
  (after,) = client_lib.RestClient(server.url, "small").predict("", body(0)).values()
  seconds = time.monotonic() - start
  with capsys.disabled():
    print(
      f"\n{counts}; {before:.0f} MB before, {peak:.0f} MB at most; answered in {seconds:.2f} s afterwards"
    )
  assert set(counts) == {200, 429, "OK", "RESOURCE_EXHAUSTED"}
  assert peak < before + 400
  assert np.abs(after - calm).max() <= 1 and seconds < 10
  assert server.process.poll() is None and server.stop() == 0
