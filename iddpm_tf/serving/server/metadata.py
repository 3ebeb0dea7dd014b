"""What a servable takes and gives, and how its versions stand, as the protocol has them."""

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2

_FAILED = grpc.StatusCode.UNKNOWN.value[0]


def of_servable(servable):
  """A `SignatureDefMap`."""
  return get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)


def status(states):
  """A `GetModelStatusResponse` of {version: `models.State`}."""
  response = get_model_status_pb2.GetModelStatusResponse()
  for version, state in states.items():
    one = response.model_version_status.add(
      version=version, state=get_model_status_pb2.ModelVersionStatus.State.Value(state.name)
    )
    one.status.error_code = _FAILED if state.error else 0
    one.status.error_message = state.error
  return response
