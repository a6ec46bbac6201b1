"""Features that the contract has and the server does not have yet: rules that need them must fail."""

AWAITED = {
    "rate_limits": "429 with its headers",
    "api_keys": "GET, POST, DELETE /v1/api-keys",
    "project_write": "POST, PATCH /v1/projects",
    "secrets": "secrets of projects",
    "external_runs": "events appended from outside, and finish",
}
