"""Exits with 0 if the server in this container is ready to rank. Needs no shell."""

import os
import sys
from http.client import HTTPConnection, HTTPException

port = int(os.environ.get("FINERANK_SERVE_PORT") or 8000)
try:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    connection.request("GET", "/health/ready")
    status = connection.getresponse().status
except (OSError, HTTPException) as error:
    sys.exit(f"no answer on port {port}: {error}")
if status != 200:
    sys.exit(f"not ready: status {status}")
