"""How OneGAI is served: the process, its socket, its protocol."""
