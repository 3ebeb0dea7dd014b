"""Seeds, labels and the other inputs of samplers."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.models import seeds
from tests import small_model

SMALL_IMAGES = np.zeros([3, 4, 4, 1], np.uint8)


def test_seeds_are_consecutive():
  np.testing.assert_array_equal(seeds.make_seeds(3, 7), [7, 8, 9])
  assert seeds.make_seeds(3).dtype == np.int64


def test_labels_are_repeated_in_turn():
  labels = seeds.make_labels(12, 10)
  np.testing.assert_array_equal(labels, [*range(10), 0, 1])
  assert labels.dtype == np.int32
  np.testing.assert_array_equal(seeds.make_labels(5, 10, [3, 1]), [3, 1, 3, 1, 3])
  assert seeds.make_labels(5, 0) is None


CLASSES = ("1", "2", "10", "cat")


def test_classes_have_names():
  def labels(chosen, class_names=CLASSES):
    return seeds.make_labels(3, 4, chosen, class_names=class_names).tolist()

  assert labels(["cat", "10"]) == [3, 2, 3] and labels("cat") == [3, 3, 3] and labels(3) == [3] * 3
  assert labels(np.array(["2"])) == [1, 1, 1]
  with pytest.raises(
    settings.InputError, match=r"classes \(1, 2, 10, cat\), received 'cats'; did "
  ):
    labels(["cats"])
  with pytest.raises(settings.InputError, match=r"^labels: expected numbers, because the names"):
    labels(["cat"], class_names=())


def test_labels_of_a_command_line_are_names_before_they_are_numbers():
  assert seeds.labels_from_texts(("2", "10"), CLASSES) == ["2", "10"]
  assert seeds.labels_from_texts(("0", "3"), CLASSES) == [0, 3]
  assert seeds.labels_from_texts(("1", "3"), ()) == [1, 3]
  assert seeds.labels_from_texts(("cat", "0"), CLASSES) == ["cat", "0"]


@pytest.mark.parametrize("count", [1, 4, 30])
def test_an_image_keeps_its_seed_and_label_if_more_are_drawn(count):
  few, many = (seeds.make_inputs(n, seed=5, num_classes=10) for n in (count, 40))
  for name in ("seed", "label"):
    np.testing.assert_array_equal(few[name], many[name][:count])


def test_inputs_are_completed():
  inputs = seeds.make_inputs(None, seed=[4, 2**40], num_classes=3)
  np.testing.assert_array_equal(inputs["seed"], [4, 2**40])
  np.testing.assert_array_equal(inputs["label"], [0, 1])
  assert inputs["low_res"] is None
  assert len(seeds.make_inputs(None)["seed"]) == 1
  enlarging = seeds.make_inputs(None, seed=3, low_res=SMALL_IMAGES)
  np.testing.assert_array_equal(enlarging["seed"], [3, 4, 5])
  assert enlarging["low_res"] is SMALL_IMAGES and enlarging["label"] is None


@pytest.mark.parametrize(
  "values, message",
  [
    ({"count": 0}, "count: expected a positive whole number, received 0"),
    ({"count": 2.0}, "count: expected a positive whole number, received 2.0"),
    ({"count": True}, "count: expected a positive whole number, received True"),
    ({"count": 2, "seed": -1}, "seed: expected seeds from 0 to 2**63 - 1, received -1"),
    ({"count": 2, "seed": 0.5}, "seed: expected a whole number, or one per image, received 0.5"),
    ({"count": 2, "seed": []}, "seed: expected a whole number, or one per image, received []"),
    ({"count": 2, "seed": [1, 2, 3]}, "seed: expected 2 seeds, received 3"),
    (
      {"count": 2, "labels": [1]},
      "labels: expected none, because the model has no classes, received [1]",
    ),
    (
      {"count": 2, "num_classes": 10, "labels": [3, 10]},
      "labels: expected classes from 0 to 9, received [3, 10]",
    ),
    (
      {"count": 2, "num_classes": 10, "labels": []},
      "labels: expected a list of whole numbers, received []",
    ),
    (
      {"count": 2, "num_classes": 10, "labels": [0.5]},
      "labels: expected a list of whole numbers, received [0.5]",
    ),
    ({"count": 2, "low_res": SMALL_IMAGES}, "low_res: expected 2 images, received 3"),
  ],
)
def test_wrong_inputs_are_refused(values, message):
  with pytest.raises(settings.InputError) as caught:
    seeds.make_inputs(**values)
  assert str(caught.value) == message


def test_example_inputs_are_those_that_a_sampler_may_have():
  inputs = seeds.example_inputs(small_model.make_config(class_conditional=False), 3)
  assert not inputs.keys() & {"label", "low_res"}
  assert all(len(array) == 3 for array in inputs.values())
  assert np.all((inputs["strength"] > 0) & (inputs["strength"] <= 1))
  assert set(np.unique(inputs["mask"])) == {0, 255}
  inputs = seeds.example_inputs(small_model.make_config(low_res_size=4), 3)
  assert inputs.keys() >= {"seed", "label", "low_res"}
  assert inputs["low_res"].shape == (3, 4, 4, 1) and inputs["low_res"].dtype == np.uint8
