"""What can be typed?

One file per group of commands. They talk to a ``Client`` or a ``Blocking`` engine, and to the
terminal.
"""
