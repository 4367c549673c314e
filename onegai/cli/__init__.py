"""What can be typed?

One file per group of commands. They talk to one object, a ``Backend``, and to the terminal.
"""
