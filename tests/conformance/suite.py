"""Imports every module of rules, in the contract's order."""

from tests.conformance import (
    rules_0_breakers,
    rules_1_transport,
    rules_2_1_own,
    rules_2_runs,
    rules_2_warm,
    rules_3_outcomes,
    rules_3_runs,
    rules_4_uploads,
    rules_5_idempotency,
    rules_6_events,
    rules_6_fields,
    rules_6_streams,
    rules_7_errors,
    rules_8_objects,
    rules_8_warm,
    rules_11_decisions,
)

SECTIONS = (
    rules_0_breakers,
    rules_1_transport,
    rules_2_runs,
    rules_2_warm,
    rules_2_1_own,
    rules_3_runs,
    rules_3_outcomes,
    rules_4_uploads,
    rules_5_idempotency,
    rules_6_events,
    rules_6_fields,
    rules_6_streams,
    rules_7_errors,
    rules_8_objects,
    rules_8_warm,
    rules_11_decisions,
)
