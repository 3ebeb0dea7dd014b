curl --max-time 600 -d $data \
  http://localhost:8501/v1/models/$name:predict | python3 -c \
  'import base64, json, sys; open("0.png", "wb").write(base64.b64decode(json.load(sys.stdin)["predictions"][0]["b64"]))'
