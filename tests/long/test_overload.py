"""The development server with far more requests than it can draw: make test-serving."""

import concurrent.futures
import time

import grpc
import httpx
import numpy as np

from iddpm_tf.serving import clients
from tests.serving import conftest

fixture_model_dir, fixture_samplers = conftest.fixture_model_dir, conftest.fixture_samplers
fixture_models_dir = conftest.fixture_models_dir
CLIENTS, SECONDS, IMAGES = 50, 60, 32


def memory(pid):
  """Returns the memory of a process in MB."""
  with open(f"/proc/{pid}/status", encoding="utf8") as file:
    return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def inputs_of(first):
  """Returns the inputs of a request, whose first seed is `first`."""
  return {"seed": np.arange(first, first + IMAGES), "label": np.arange(IMAGES, dtype=np.int32) % 10}


def by_rest(url, until):
  """Sends requests one after the other until a time, and returns their statuses."""
  statuses = []
  with httpx.Client(timeout=120) as http:
    while time.monotonic() < until:
      inputs = {name: array.tolist() for name, array in inputs_of(len(statuses)).items()}
      response = http.post(f"{url}/v1/models/small:predict", json={"inputs": inputs})
      statuses.append(response.status_code)
  return statuses


def by_grpc(address, until):
  """Sends requests one after the other until a time, and returns their statuses."""
  statuses = []
  retry = clients.RetryPolicy(timeout=120, attempts=1)
  with clients.connect(model="small", address=address, retry=retry) as client:
    while time.monotonic() < until:
      try:
        client.predict("", inputs_of(len(statuses)))
        statuses.append("OK")
      except clients.BusyError as error:
        assert grpc.StatusCode.RESOURCE_EXHAUSTED.name in str(error)
        statuses.append("RESOURCE_EXHAUSTED")
  return statuses


def test_fifty_clients_for_a_minute(models_dir, capsys):
  server = conftest.Server(models_dir, "--max_queue=8")
  client = clients.connect(model="small", url=server.url)
  (expected,) = client.predict("", inputs_of(0)).values()
  before = memory(server.process.pid)
  until, peak = time.monotonic() + SECONDS, before
  with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
    jobs = [
      pool.submit(*((by_rest, server.url, until) if i % 2 else (by_grpc, server.address, until)))
      for i in range(CLIENTS)
    ]
    while not all(job.done() for job in jobs):
      peak = max(peak, memory(server.process.pid))
      time.sleep(0.5)
  answers = [answer for job in jobs for answer in job.result()]
  counts = {answer: answers.count(answer) for answer in sorted(set(answers), key=str)}
  start = time.monotonic()
  (after,) = client.predict("", inputs_of(0)).values()
  seconds = time.monotonic() - start
  client.close()
  with capsys.disabled():
    print(
      f"\n{counts}; memory: {before:.0f} MB before, {peak:.0f} MB at most; "
      f"a request afterwards took {seconds:.2f} s"
    )
  assert set(counts) == {200, 429, "OK", "RESOURCE_EXHAUSTED"}
  assert peak < before + 400
  assert np.abs(after - expected).max() <= 1 and seconds < 10
  assert server.process.poll() is None and server.stop() == 0
