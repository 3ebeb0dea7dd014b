"""Images in batches, names of classes, and the choice of a client."""

import base64

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.serving import clients
from iddpm_tf.serving.clients import rest_client
from tests.serving.conftest import require_same


def test_many_images_are_requested_in_batches(server, drawn):
  arguments = ("ddim_5", np.arange(12), np.arange(12) % 10)
  with clients.connect(model="small", address=server.address) as client:
    parts = [
      (indices, len(images))
      for indices, images in clients.batches(client, *arguments, batch_size=5)
    ]
    images = clients.draw(client, *arguments, batch_size=7)
  assert parts == [(slice(0, 5), 5), (slice(5, 10), 5), (slice(10, 12), 2)]
  require_same(images, drawn["ddim_5"])


def test_sequences_are_accepted(server, drawn):
  with clients.connect(model="small", url=server.url) as client:
    images = clients.draw(client, "ddim_5", range(12), [i % 10 for i in range(12)], batch_size=12)
  assert images.dtype == np.uint8
  np.testing.assert_array_equal(images, drawn["ddim_5"])


@pytest.mark.parametrize(
  "answer",
  [
    [],
    5,
    {"output": 1},
    {"outputs": {"image": {"b64": "!"}}},
    {"outputs": [[7]]},
    {"outputs": {}},
    {"outputs": {"image": [[[[7]]]], "more": [1]}},
    {"outputs": [[[[0.5]]]]},
    {"outputs": [[[[300]]]]},
    {"outputs": [[[[-1]]]]},
    {"outputs": [[[[7]]], [[[7]]]]},
  ],
)
def test_answers_without_images_are_refused(fake_server, answer):
  fake_server.answer, fake_server.statuses = answer, [200]
  with (
    rest_client.RestClient(fake_server.url, "m") as client,
    pytest.raises(clients.ServingError, match="expected"),
  ):
    clients.draw(client, "ddim_5", [0])


@pytest.mark.parametrize("protocol", ["address", "url"])
def test_the_names_of_the_classes_come_from_the_export(server, protocol):
  with clients.connect(model="small", **{protocol: getattr(server, protocol)}) as client:
    names = clients.class_names(client, client.signatures())
    assert names[:2] == ("zero", "one") and len(names) == 10
    assert clients.class_names(client, {"ddim_5": ("seed",)}) == ()


def test_names_may_hold_any_characters(fake_server):
  names = [base64.b64encode(text).decode() for text in ("Käse, 猫".encode(), b"\xff")]
  with rest_client.RestClient(fake_server.url, "m") as client:
    fake_server.answer = {"outputs": [[{"b64": name} for name in names]]}
    fake_server.statuses = [200, 200]
    assert clients.class_names(client, {"class_names": ("seed",)}) == ("Käse, 猫", "\udcff")
    fake_server.answer = {"outputs": [["cat"], ["dog"]]}
    with pytest.raises(clients.ServingError, match=r"^class_names: expected one output \[1, K\]"):
      clients.class_names(client, {"class_names": ("seed",)})


@pytest.mark.parametrize(
  "servers, message",
  [
    ({}, "address: expected HOST:PORT"),
    ({"address": "a:1", "url": "http://a"}, "address: cannot be combined with url"),
    ({"address": "a"}, "address: expected HOST:PORT, received 'a'"),
    ({"url": "a:1"}, "url: expected http://HOST:PORT or https://HOST:PORT, received 'a:1'"),
  ],
)
def test_one_server_is_required(servers, message):
  with pytest.raises(settings.InputError, match=f"^{message}"):
    clients.connect(model="m", **servers)


@pytest.mark.parametrize("timeout, attempts", [(0, 1), (float("inf"), 1), (1, 0)])
def test_retries_have_limits(timeout, attempts):
  with pytest.raises(settings.InputError, match="expected a positive number"):
    clients.RetryPolicy(timeout, attempts)


@pytest.mark.parametrize(
  "name, message",
  [
    (
      "ddim_6",
      "signature: expected one of class_names, ddim_5, ddim_5_trajectory, enlarge_5, png_ddim_5",
    ),
    ("png_ddim_5", "signature: expected the name of a sampler"),
    ("ddim_5_trajectory", "signature: expected the name of a sampler"),
    ("class_names", "signature: expected the name of a sampler"),
    ("enlarge_5", "signature: expected one that needs no images"),
  ],
)
def test_a_signature_that_draws_no_images_is_refused(name, message):
  signatures = {
    "class_names": ("seed",),
    "ddim_5": ("label", "seed"),
    "ddim_5_trajectory": ("label", "seed"),
    "enlarge_5": ("low_res", "seed"),
    "png_ddim_5": ("label", "seed"),
  }
  assert clients.require_image_signature(signatures, "ddim_5") == ("label", "seed")
  with pytest.raises(settings.InputError, match=f"^{message}"):
    clients.require_image_signature(signatures, name)
