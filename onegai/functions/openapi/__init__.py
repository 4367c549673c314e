"""Apps that have an OpenAPI document: every operation of it is a function."""
