"""Listens only after --delay seconds, with a line of log every 0.1 s until then."""

import time

import httpd
import ready

parser = httpd.options(__doc__)
parser.add_argument("--delay", type=float, default=1.0)
options = parser.parse_args()
began = time.monotonic()
while (passed := time.monotonic() - began) < options.delay:
    print(f"loading, {passed:.1f} s", flush=True)
    time.sleep(min(0.1, options.delay - passed))
httpd.serve(options.host, options.port, ready.answer)
