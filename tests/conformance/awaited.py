"""Features that the contract has and the server does not have yet: rules that need them must fail."""

AWAITED = {
    "external_runs": "events appended from outside, and finish",
    "previews": "previews of ports",
    "rate_limits": "429 with its headers",
    "secrets": "secrets of projects",
    "usage": "GET /v1/usage",
}
