"""Weights from and to other implementations of the paper's networks."""

from iddpm_tf.interop.state_dicts import read_state_dict
from iddpm_tf.interop.state_dicts import write_state_dict
from iddpm_tf.interop.openai import load_state_dict
from iddpm_tf.interop.openai import state_dict_entries
from iddpm_tf.interop.openai import to_state_dict

__all__ = [
  "load_state_dict",
  "read_state_dict",
  "state_dict_entries",
  "to_state_dict",
  "write_state_dict",
]
