"""Is ready at once: 200 on any GET, and POST routes that echo, sleep, die and spawn.

GET  /env, /pid                  its environment and its process id, as JSON; any other path: "ok"
POST /echo                       the request as JSON: method, path, query, headers, body
POST /sleep?s=0.5                answers after that long
POST /die?code=3                 exits without answering
POST /deaf                       closes its port and lives on
POST /spawn?mode=child|session   starts a sleeping process, in its group or in a session of its own;
     |stranger                   or in a session of its own, without our environment and orphaned;
     &ignore_term=1              one that ignores SIGTERM. Answers {"pid": …}
"""

import argparse
import os
import signal
import time

import httpd


def answer(request: httpd.Request) -> httpd.Answer:
    query = request.query
    match request.method, request.path:
        case "GET", "/env":
            return httpd.as_json(dict(os.environ))
        case "GET", "/pid":
            return httpd.as_json({"pid": os.getpid(), "pgid": os.getpgrp(), "sid": os.getsid(0)})
        case "GET" | "HEAD", _:
            return httpd.Answer(b"ok")
        case _, "/echo":
            return echo(request)
        case "POST", "/sleep":
            time.sleep(float(query.get("s", "1")))
            return httpd.as_json({"slept": query.get("s", "1")})
        case "POST", "/die":
            os._exit(int(query.get("code", "1")))
        case "POST", "/deaf":
            httpd.close_port()
            return httpd.as_json({})
        case "POST", "/spawn":
            return httpd.as_json({"pid": spawn(query.get("mode", "child"), "ignore_term" in query)})
    return httpd.as_json({"error": f"no route {request.method} {request.path}"}, 404)


def echo(request: httpd.Request) -> httpd.Answer:
    facts = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body": request.body.decode("utf-8", "replace"),
    }
    return httpd.as_json(facts)


def spawn(mode: str, ignore_term: bool) -> int:
    """Start a process that sleeps for an hour. Returns its id."""
    import subprocess

    script = "trap '' TERM; exec sleep 3600" if ignore_term else "exec sleep 3600"
    if mode == "stranger":
        # Its parent lives for a second, as a launcher does; the child outlives it.
        script = f"setsid env -i sh -c {script!r} & echo $!; sleep 1"
        launcher = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)
        return int(launcher.stdout.readline())
    child = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=mode == "session")
    return child.pid


def main(parser: argparse.ArgumentParser | None = None) -> None:
    parser = parser or httpd.options(__doc__)
    parser.add_argument("--ignore-term", action="store_true", help="SIGTERM does nothing")
    parser.add_argument(
        "--ignore-term-grandchild", action="store_true", help="start one that ignores SIGTERM"
    )
    options = parser.parse_args()
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.ignore_term_grandchild:
        print("grandchild", spawn("child", ignore_term=True), flush=True)
    httpd.serve(options.host, options.port, answer)


if __name__ == "__main__":
    main()
