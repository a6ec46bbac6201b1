"""What each route takes, answers and refuses: the one source of OpenAPI document and reference page."""
