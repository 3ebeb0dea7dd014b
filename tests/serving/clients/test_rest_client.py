"""The client by REST, with a server that answers as it is told."""

import types

import numpy as np
import pytest
from tenacity import nap

from iddpm_tf.serving import clients
from iddpm_tf.serving.clients import rest_client

SEED = {"seed": np.arange(1)}


@pytest.mark.parametrize(
  "statuses, attempts, error",
  [
    ([503, 429, 200], 3, None),
    ([503, 429, 200], 2, "429: refused with 429"),
    ([400, 200], 3, "400: refused with 400"),
  ],
)
def test_a_request_is_repeated_while_the_server_is_busy(
  fake_server, statuses, attempts, error, monkeypatch
):
  pauses = []
  monkeypatch.setattr(nap, "time", types.SimpleNamespace(sleep=pauses.append))
  fake_server.statuses = list(statuses)
  retry = clients.RetryPolicy(timeout=10, attempts=attempts)
  with rest_client.RestClient(fake_server.url, "m", retry=retry) as client:
    if error is None:
      assert client.predict("s", SEED)[""].tolist() == [[[[7]]]]
    else:
      with pytest.raises(clients.ServingError, match=error):
        client.predict("s", SEED)
  assert len(fake_server.bodies) == (1 if statuses[0] == 400 else attempts)
  # Half a second, which doubles, and up to half a second more.
  assert len(pauses) == len(fake_server.bodies) - 1
  assert all(0.5 * 2**i <= pause <= 0.5 * 2**i + 0.5 for i, pause in enumerate(pauses))
  expected = {"signature_name": "s", "inputs": {"seed": [0]}}
  assert all(body == expected for body in fake_server.bodies)


def test_names_are_quoted(fake_server):
  with rest_client.RestClient(fake_server.url, "a/b?c", version=3) as client:
    assert client._url.endswith("/v1/models/a%2Fb%3Fc/versions/3")


def test_signatures_of_another_program_are_refused(fake_server, monkeypatch):
  with rest_client.RestClient(fake_server.url, "m") as client:
    assert client.signatures() == {"serving_default": ("seed",)}
    monkeypatch.setattr(client, "_call", lambda *_: {"metadata": []})
    with pytest.raises(clients.ServingError, match="expected an answer of TensorFlow Serving"):
      client.signatures()
