"""Tensors as JSON."""

import json

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.serving import rest_json


@pytest.mark.parametrize(
  "array",
  [
    np.arange(6).reshape(1, 2, 3),
    np.array([0.5, -1.0]),
    np.array([b"\x89PNG", b"\x00\xff"], object),
    np.array([b"ab"], "S2"),
  ],
)
def test_arrays_survive_json(array):
  text = json.dumps(rest_json.encode(array))
  np.testing.assert_array_equal(np.array(rest_json.decode(json.loads(text), "image")), array)


def test_bytes_are_base64_objects():
  assert rest_json.encode(np.array([b"ABC"], object)) == [{"b64": "QUJD"}]


@pytest.mark.parametrize(
  "value", [{"b64": "!"}, {"b65": "QUJD"}, {"b64": 3}, {}, {"a": 1, "b64": ""}]
)
def test_other_objects_are_refused(value):
  with pytest.raises(settings.InputError, match=r'^image: expected {"b64": BASE64}, received'):
    rest_json.decode([value], "image")


def test_truth_values_are_not_numbers():
  with pytest.raises(settings.InputError, match=r"^seed: expected numbers, received true"):
    rest_json.decode([[1, True]], "seed")


def test_rows_become_columns():
  rows = [{"seed": 1, "label": 2}, {"seed": 3, "label": 4}]
  assert rest_json.instances_to_inputs(rows) == {"seed": [1, 3], "label": [2, 4]}
  assert rest_json.instances_to_inputs([1, 2]) == {"": [1, 2]}
  assert rest_json.instances_to_inputs([]) == {"": []}
  assert rest_json.instances_to_inputs([{"b64": "QUJD"}]) == {"": [{"b64": "QUJD"}]}


@pytest.mark.parametrize(
  "rows, message",
  [
    (5, "expected a list, received int"),
    ([{"a": 1}, {"b": 1}], "expected a in each row, received {'b': 1}"),
    ([{"a": 1}, 2], "expected a in each row, received 2"),
  ],
)
def test_unequal_rows_are_refused(rows, message):
  with pytest.raises(settings.InputError, match=f"^instances: {message}"):
    rest_json.instances_to_inputs(rows)


def test_columns_become_rows():
  outputs = {"a": [1, 2], "b": [3, 4]}
  assert rest_json.outputs_to_predictions(outputs) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
  assert rest_json.outputs_to_predictions({"a": [1, 2]}) == [1, 2]
