#!/usr/bin/env bash
# smoke_test.sh IMAGE LARGEST_MB: builds an image with Docker, runs it as production would, and measures it.
set -euo pipefail
image=$1 largest_mb=$2
cd "$(dirname "$0")/../.."

docker build --pull -f "deploy/docker/$image.Dockerfile" -t "finerank/$image" .
size_mb=$(($(docker image inspect --format '{{.Size}}' "finerank/$image") / 1000000))
echo "$image: $size_mb MB"
if ((size_mb > largest_mb)); then
  echo "larger than $largest_mb MB" >&2
  exit 1
fi

docker run --rm --network none "finerank/$image" demo --lang zh

server=$(docker run -d --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
  -e FINERANK_SERVE_API_KEYS=sesame -p 127.0.0.1:8000:8000 "finerank/$image")
trap 'docker logs "$server"; docker rm -f "$server" >/dev/null' EXIT
for _ in $(seq 60); do
  state=$(docker inspect --format '{{.State.Health.Status}}' "$server")
  [[ $state == healthy ]] && break
  sleep 1
done
[[ $state == healthy ]]

body='{"query": "How do I reset the router?", "documents": ["It is black.", "To reset the router, hold its button."]}'
rank() { curl -sS -o /tmp/answer.json -w '%{http_code}' -H 'Content-Type: application/json' "$@" -d "$body" \
  http://127.0.0.1:8000/finerank/v1/rerank; }
[[ $(rank) == 401 ]]
[[ $(rank -H 'Authorization: Bearer sesame') == 200 ]]
python3 -c 'import json; assert json.load(open("/tmp/answer.json"))["results"][0]["index"] == 1'

docker stop --timeout 40 "$server"
[[ $(docker inspect --format '{{.State.ExitCode}}' "$server") == 0 ]]
