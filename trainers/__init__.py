"""The commands: `python -m trainers.NAME`. `python -m trainers` lists them."""

import os

# The start-up lines of TensorFlow and gRPC would bury the one line that says what is wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# TensorFlow sets it on some processors only. Where it does not, training gets faster by a third.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
