"""Features that the contract has and the server does not have yet: rules that need them must fail."""

AWAITED = {
    "commands": "commands in warm sandboxes",
    "external_runs": "events appended from outside, and finish",
    "files": "files of warm sandboxes, and artifacts from them",
    "openapi": "/openapi.json, /llms.txt, /auth.md, the API catalogue",
    "previews": "previews of ports",
    "rate_limits": "429 with its headers",
    "sandboxes": "POST /v1/sandboxes, /extend and /ttl",
    "secrets": "secrets of projects",
    "usage": "GET /v1/usage",
}
