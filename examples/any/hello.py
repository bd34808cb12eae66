"""A service in Python that is restarted without losing a request: the standard
library, and systemd's contract.

It takes the socket "web" from whoever started it (sd_listen_fds(3)), says when it
is ready (sd_notify(3)), and on SIGTERM stops accepting, answers what it has and
ends.
"""

import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LINGER = 5  # seconds that a connection without a request is kept after SIGTERM


def inherited(name):
    """The listening socket that was passed under this name."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("hello.py: no socket was passed; start it with segue run, in this directory")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    # Its blocking mode belongs to all processes that have it: leave it alone.
    return socket.socket(fileno=3 + names.index(name))


def notify(message):
    """Tells the supervisor, if there is one."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect("\0" + path[1:] if path[0] == "@" else path)
            s.send(message.encode())


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them

    def __init__(self, listener):
        super().__init__(None, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.leaving = False
        self.waiting = set()  # connections without a request

    def leave(self):
        self.leaving = True  # what is answered from now on says Connection: close
        self.shutdown()  # no accept is under way any more
        end = time.monotonic() + LINGER
        while self.waiting and time.monotonic() < end:
            time.sleep(0.05)
        for connection in list(self.waiting):
            connection.shutdown(socket.SHUT_RD)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self):
        self.server.waiting.add(self.connection)
        super().handle_one_request()
        self.server.waiting.discard(self.connection)

    def do_GET(self):
        self.server.waiting.discard(self.connection)
        body = f"hello from Python, process {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if self.server.leaving:
            self.send_header("Connection", "close")  # the client's next connection is the new process's
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = Server(inherited("web"))
serving = threading.Thread(target=server.serve_forever, args=(0.05,))
serving.start()
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
notify("READY=1")
told.wait()
notify("STOPPING=1")
server.leave()
serving.join()
