"""The commands, one file per group. They talk to one object, a ``Backend``, and to the terminal."""
