"""Clients of TensorFlow Serving and of the development server: arrays in, arrays out.

`connect` returns a client by gRPC or by REST, and `draw` asks it for images:

```python
from iddpm_tf.serving import clients

with clients.connect(url="http://127.0.0.1:8501", model="digits") as client:
  images = clients.draw(client, "ddim_50", seeds=range(16), labels=[3] * 16)
```

A client by REST needs no TensorFlow.
"""

from iddpm_tf.serving.clients.base import BusyError
from iddpm_tf.serving.clients.base import Client
from iddpm_tf.serving.clients.base import RetryPolicy
from iddpm_tf.serving.clients.base import ServingError
from iddpm_tf.serving.clients.connecting import connect
from iddpm_tf.serving.clients.drawing import batches
from iddpm_tf.serving.clients.drawing import class_names
from iddpm_tf.serving.clients.drawing import draw
from iddpm_tf.serving.clients.drawing import require_image_signature

__all__ = [
  "BusyError",
  "Client",
  "RetryPolicy",
  "ServingError",
  "batches",
  "class_names",
  "connect",
  "draw",
  "require_image_signature",
]
