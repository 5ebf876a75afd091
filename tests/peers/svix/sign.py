"""Signs as Svix does, with its own library: one JSON object a line in, one signature a line out."""

import datetime
import json
import sys

from svix.webhooks import Webhook

for line in sys.stdin:
    it = json.loads(line)
    at = datetime.datetime.fromtimestamp(it["timestamp"], tz=datetime.timezone.utc)
    print(Webhook(it["secret"]).sign(it["id"], at, it["body"]), flush=True)
