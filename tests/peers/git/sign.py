"""Signs as git hosts and others do: one JSON object a line in, headers as JSON a line out.

Standard Webhooks with its own library (PyPI `standardwebhooks`), Gitea and Forgejo with the standard library.
"""

import datetime
import hashlib
import hmac
import json
import sys

from standardwebhooks.webhooks import Webhook

for line in sys.stdin:
    it = json.loads(line)
    if it["as"] == "standard":
        at = datetime.datetime.fromtimestamp(it["timestamp"], tz=datetime.timezone.utc)
        signature = Webhook(it["secret"]).sign(it["id"], at, it["body"])
        headers = {
            "webhook-id": it["id"],
            "webhook-timestamp": str(it["timestamp"]),
            "webhook-signature": signature,
        }
    else:
        digest = hmac.new(it["secret"].encode(), it["body"].encode(), hashlib.sha256).hexdigest()
        headers = {
            "X-Gitea-Delivery": it["id"],
            "X-Gitea-Event": "push",
            "X-Gitea-Event-Type": "push",
            "X-Gitea-Signature": digest,
            "X-GitHub-Delivery": it["id"],
            "X-GitHub-Event": "push",
            "X-Hub-Signature-256": "sha256=" + digest,
        }
    print(json.dumps(headers), flush=True)
