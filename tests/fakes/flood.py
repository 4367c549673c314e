"""Writes into its log: --say TEXT at its start, and floods it on request.

POST /flood?mb=300&sign=%0D      so many MiB of lines that end with the sign, at 500 MB/s
GET                              "ok"
"""

import os
import time

import httpd


def answer(request: httpd.Request) -> httpd.Answer:
    if request.method == "POST":
        line = b"x" * 63 + request.query.get("sign", "\n").encode()
        for _ in range(int(request.query["mb"])):
            os.write(1, line * (1 << 14))
            time.sleep(0.002)
    return httpd.Answer(b"ok")


parser = httpd.options(__doc__)
parser.add_argument("--say", default="")
options = parser.parse_args()
print(options.say, flush=True)
httpd.serve(options.host, options.port, answer)
