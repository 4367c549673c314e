"""Prints three lines to stderr and exits with --code, after --delay seconds."""

import sys
import time

import httpd

parser = httpd.options(__doc__)
parser.add_argument("--code", type=int, default=1)
parser.add_argument("--delay", type=float, default=0.0)
options = parser.parse_args()
time.sleep(options.delay)
for line in ("loading the model", "trying harder", "RuntimeError: the model is broken"):
    print(line, file=sys.stderr, flush=True)
sys.exit(options.code)
