"""Calls the official Python library as an application's server would.

Each line of standard input is a call, a JSON object: {"call": "trigger", "args": [...]};
each line of standard output its outcome, {"result": ...} or {"error": "...", "type": "..."}. The harness
sets the environment.
"""

import json
import os
import sys

import pusher

client = pusher.Pusher(
    app_id=os.environ["PLAYHEAD_APP_ID"],
    key=os.environ["PLAYHEAD_APP_KEY"],
    secret=os.environ["PLAYHEAD_APP_SECRET"],
    host=os.environ["PLAYHEAD_HOST"],
    port=int(os.environ["PLAYHEAD_PORT"]),
    ssl=False,
    timeout=20,
)

for line in sys.stdin:
    call = json.loads(line)
    try:
        method = getattr(client, call["call"])
        outcome = {"result": method(*call["args"])}
    except Exception as err:  # what the library makes of an answer is what is to be seen
        outcome = {"error": str(err), "type": type(err).__name__}
    print(json.dumps(outcome), flush=True)
