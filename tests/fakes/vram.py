"""Is ready at once and takes VRAM: what it has stands in a file of --use, named by its pid.

POST /echo takes --grow MiB from the first time on; POST /free gives back all but --keeps MiB. What
it has when it ends is free --linger seconds later. Every other route is ready.py's.
"""

import json
import os
import threading
from pathlib import Path

import httpd
import ready


def take(mib: int) -> None:
    """The file is replaced in one step, as a probe may read it at any moment."""
    file = Path(options.use) / str(os.getpid())
    draft = file.with_suffix(f".{threading.get_ident()}")
    draft.write_text(json.dumps({"mib": mib, "linger": options.linger}))
    draft.replace(file)


def answer(request: httpd.Request) -> httpd.Answer:
    match request.method, request.path:
        case "POST", "/free":
            take(options.keeps)
            return httpd.as_json({"free": True}, options.free_status)
        case "POST", "/echo":
            take(max(options.mib, options.grow))
    return ready.answer(request)


parser = httpd.options(__doc__)
parser.add_argument("--use", required=True, help="folder")
parser.add_argument("--mib", type=int, default=0)
parser.add_argument("--grow", type=int, default=0)
parser.add_argument("--keeps", type=int, default=0)
parser.add_argument("--linger", type=float, default=0.0)
parser.add_argument("--free-status", type=int, default=200)
options = parser.parse_args()
take(options.mib)
httpd.serve(options.host, options.port, answer)
