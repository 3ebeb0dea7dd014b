curl --max-time 600 -d $data \
  http://localhost:8501/v1/models/$name:predict
