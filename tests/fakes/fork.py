"""Leaves ready.py's work in the background and exits 0; --mode: in the same group or a session."""

import os

import httpd
import ready

parser = httpd.options(__doc__)
parser.add_argument("--mode", choices=["same", "session"], default="same")
mode = parser.parse_known_args()[0].mode
if os.fork():
    os._exit(0)
if mode == "session":
    os.setsid()
    if os.fork():  # the usual second fork of a daemon: no session leader
        os._exit(0)
ready.main(parser)
