"""Verifies as a receiver does, with the library of Standard Webhooks: one JSON object a line in, the verdict a line out."""

import json
import sys

from standardwebhooks.webhooks import Webhook

for line in sys.stdin:
    it = json.loads(line)
    try:
        Webhook(it["secret"]).verify(it["body"], it["headers"])
        print("ok", flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
