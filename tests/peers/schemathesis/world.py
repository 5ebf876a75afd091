"""Hooks of schemathesis: what the server's document cannot know, because it is about one installation.

WORLD is JSON: `ids` of what is there, and `doomed` ids of what a test may end.
"""

import json
import os

import schemathesis

WORLD = json.loads(os.environ["WORLD"])
# Each of these would build, or start a server: they are rehearsed.
HEAVY = ("/builds", "/deployments", "/rollback", "/restart")
# A position that is not there yet is waited for, two seconds each.
SLOW = {"X-Min-Position"}
# Fields of bodies and of the query that name something.
NAMED = {
    "userId": "user", "teamId": "team", "projectId": "project", "activeTeamId": "team",
    "activeProjectId": "project", "environment": "environment", "buildId": "build", "deploymentId": "deployment",
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for path, operations in raw_schema["paths"].items():
        for method, operation in operations.items():
            parameters = [it for it in operation["parameters"] if it["name"] not in SLOW]
            operation["parameters"] = parameters
            in_path = [it for it in parameters if it["in"] == "path"]
            for parameter in in_path:
                # What a path ends with is what its DELETE ends.
                ends = method == "delete" and parameter is in_path[-1] or path.endswith("/transfer")
                parameter["schema"]["enum"] = [known(path, parameter["name"], ends)]
            for parameter in parameters:
                # The `userId` of a trace is whatever its sender calls his users.
                is_id = parameter["in"] == "query" and parameter["schema"].get("format") == "uuid"
                if is_id and parameter["name"] in NAMED:
                    parameter["schema"]["enum"] = [WORLD["ids"][NAMED[parameter["name"]]]]
    for name, schema in raw_schema["components"]["schemas"].items():
        if "properties" not in schema or name == "Problem":
            continue
        # What is asked has no unknown fields. What is answered may have some, which clients must not mind; here each
        # must be one of the document.
        is_asked = "additionalProperties" in schema
        schema["additionalProperties"] = False
        for field, told in schema["properties"].items():
            if is_asked and field in NAMED and told.get("format") == "uuid":
                told["enum"] = [WORLD["ids"][NAMED[field]]] + ([None] if "null" in told["type"] else [])


@schemathesis.hook
def before_call(context, case, kwargs):
    query = dict(case.query or {})
    if case.method.upper() == "POST" and case.path.endswith(HEAVY) and query.get("dryRun", False) in (False, "false"):
        case.query = {**query, "dryRun": "true"}


def known(path, name, ends):
    there = WORLD["doomed" if ends else "ids"]
    if name == "token":
        name = "myToken" if "/me/" in path else "projectToken"
    return there[name]
