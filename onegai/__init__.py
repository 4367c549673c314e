"""OneGAI: one polite Web API server in front of every generative AI app on a machine."""

__version__ = "0.1.0"
