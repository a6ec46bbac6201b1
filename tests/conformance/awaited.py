"""Features that the contract has and the server does not have yet: rules that need them must fail."""

AWAITED = {
    "external_runs": "events appended from outside, and finish",
}
