"""Leaves ready.py's work in the background and exits 0; --mode: in the same group or a session.

--mode escape: does the work itself, and leaves a process that nothing connects with it any more.
"""

import os

import httpd
import ready

parser = httpd.options(__doc__)
parser.add_argument("--mode", choices=["same", "session", "escape"], default="same")
mode = parser.parse_known_args()[0].mode
if mode == "escape":
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.execve("/bin/sleep", ["sleep", "3600"], {})
        os._exit(0)
    os.wait()
elif os.fork():
    os._exit(0)
elif mode == "session":
    os.setsid()
    if os.fork():  # the usual second fork of a daemon: no session leader
        os._exit(0)
ready.main(parser)
