"""Bars and lines as objects of JSON."""

import io
import json

from iddpm_tf.utils import progress


def test_lines_and_bars_are_objects_of_json():
  stream = io.StringIO()
  lines = progress.JsonLines(stream)
  lines.say("new run: 5 steps")
  lines.say("warning: it is\nlong")
  lines.say("note: it is short")
  with lines.bar(total=5, unit="step", initial=1) as bar:
    for _ in range(4):
      bar.update()
    bar.set_postfix_str("loss 1")
  contents = [json.loads(line) for line in stream.getvalue().splitlines()]
  assert [(each["level"], each.get("message")) for each in contents[:3]] == [
    ("info", "new run: 5 steps"),
    ("warning", "it is\nlong"),
    ("info", "it is short"),
  ]
  # The first update, and the end; the others came within ten seconds.
  assert [(each["done"], each["total"], each["text"]) for each in contents[3:]] == [
    (2, 5, ""),
    (5, 5, "loss 1"),
  ]
  assert all(each["time"].endswith("+00:00") for each in contents)
