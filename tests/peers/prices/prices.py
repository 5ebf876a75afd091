"""The prices that litellm's table has of a model, in US dollars for a million tokens; one model a line, as JSON."""

import json
import sys
import sysconfig
from decimal import Decimal
from pathlib import Path

FIELDS = {
    "input": "input_cost_per_token",
    "cacheRead": "cache_read_input_token_cost",
    "cacheWrite": "cache_creation_input_token_cost",
    "output": "output_cost_per_token",
    "audioInput": "input_cost_per_audio_token",
    "audioOutput": "output_cost_per_audio_token",
}
# What is asked of Google's own API, and not of its cloud, has another name there.
PREFIXES = {"google": "gemini/"}

table = Path(sysconfig.get_path("purelib"), "litellm/model_prices_and_context_window_backup.json")
known = json.loads(table.read_text(), parse_float=Decimal)

for line in sys.stdin:
    asked = json.loads(line)
    found = known.get(PREFIXES.get(asked["source"], "") + asked["model"])
    if found is not None:
        # Large numbers of small ones are whole, and written out.
        found = {ours: f"{Decimal(found[theirs]) * 1_000_000:f}" for ours, theirs in FIELDS.items() if theirs in found}
    print(json.dumps(found), flush=True)
