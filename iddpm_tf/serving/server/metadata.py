"""The signatures of a servable and the states of its versions, as messages of the protocol."""

from collections.abc import Mapping

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2

from iddpm_tf.serving.server import loaded_servable
from iddpm_tf.serving.server import model_manager

_FAILED = grpc.StatusCode.UNKNOWN.value[0]


def signature_map(
  servable: loaded_servable.LoadedServable,
) -> get_model_metadata_pb2.SignatureDefMap:
  """Returns the signatures of a servable."""
  return get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)


def status(
  states: Mapping[int, model_manager.State],
) -> get_model_status_pb2.GetModelStatusResponse:
  """Returns the states of versions, `{version: State}`."""
  response = get_model_status_pb2.GetModelStatusResponse()
  for version, state in states.items():
    entry = response.model_version_status.add(
      version=version, state=get_model_status_pb2.ModelVersionStatus.State.Value(state.name)
    )
    entry.status.error_code = _FAILED if state.error else 0
    entry.status.error_message = state.error
  return response
