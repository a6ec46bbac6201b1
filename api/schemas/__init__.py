"""JSON Schemas (2020-12, as OpenAPI 3.1 uses them) of every object that an answer holds."""
