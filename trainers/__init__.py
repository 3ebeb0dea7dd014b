"""The commands: `python -m trainers.NAME`. `python -m trainers` lists them."""

import os

# The start-up lines of TensorFlow and gRPC would bury the one line that says what is wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
