"""Whatever a client sends, as the OpenAPI document describes it or not: never a 5xx."""

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from finerank.serving.openapi import openapi

SCHEMA = schemathesis.openapi.from_dict(dict(openapi()))


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_input_is_a_server_error(case: schemathesis.Case, server) -> None:
    response = case.call(base_url=server.url, timeout=30)
    case.validate_response(response, checks=[not_a_server_error])
