"""Values that are computed again."""

import tensorflow as tf

from iddpm_tf.utils import recomputation


def test_a_graph_computes_again_after_the_event():
  with tf.Graph().as_default():
    x, event = tf.constant(1.0), tf.constant(2.0)
    later = recomputation.not_before(x, event)
    assert later.op.control_inputs == [event.op] and later.op.inputs[0] is x
