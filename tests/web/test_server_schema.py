"""The API does what its OpenAPI document says, for good and bad requests that schemathesis makes up from it."""

import contextlib

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi import checks
from serving import PATIENCE

from latentloom.web.app import route_table
from latentloom.web.openapi import document

schema = schemathesis.openapi.from_dict(document(route_table()))
schema = schema.exclude(path="/api/v1/events/socket")  # a WebSocket
EXAMPLES = 12
ELSEWHERE = [
    checks.ignored_auth,  # this server has no token; test_server_security.py asks every route of one that has
    checks.positive_data_acceptance,  # a schema cannot say which workflow is valid, or which file a picture
]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_those_of_the_document(server, case):
    hurry(case.query or {})
    case.call_and_validate(base_url=server.address, allow_redirects=False, timeout=PATIENCE, excluded_checks=ELSEWHERE)


def hurry(query) -> None:
    """Nobody has the time for a long poll."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if 0 < float(query["wait"]) <= 60:
            query["wait"] = "0"
