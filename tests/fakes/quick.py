"""Answers every request with its pid, in two pieces 2 ms apart; starts as fast as Python can.

To be run as ``python -S -E -I quick.py PORT SECONDS``. After SIGTERM it goes on for SECONDS and
then exits with 0; with 0 seconds SIGTERM kills it.
"""

import _thread
import os
import signal
import socket
import sys
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\n"
BODY = b"%8d" % os.getpid()


def connection(client):
    request = b""
    while piece := client.recv(65536):
        request += piece
        if request.endswith(b"\r\n\r\n"):
            request = b""
            client.sendall(HEAD)
            time.sleep(0.002)
            client.sendall(BODY)
    client.close()


def leave(*_):
    time.sleep(seconds)
    os._exit(0)


seconds = float(sys.argv[2])
if seconds:
    signal.signal(signal.SIGTERM, leave)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(os.getpid(), flush=True)
while True:
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _thread.start_new_thread(connection, (accepted,))
