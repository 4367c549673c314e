"""The HTTP API: routes, each a function of the engine and of what it uses of the settings."""
