#!/usr/bin/env python3
"""A notice board: a web application of which any number of instances run, each beside a replica of its own.

    pip install redis
    python3 examples/web/board.py 127.0.0.1:8001 127.0.0.12:6379
    python3 examples/web/board.py 127.0.0.1:8002 127.0.0.13:6379

Instances share nothing and know nothing of each other, and a visitor may come to another one with every request. Each reads what its own replica has, which
may be a moment behind. Yet a visitor always sees what he wrote, and never less than he saw: what that was is in a cookie, as a session token of the store.
"""

import html
import secrets
import sys
import time
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import redis

SHOWN = 20
LENGTH_MAX = 10_000
# Longer than the store's requestTimeout, so that it is the store that says what is missing.
TIMEOUT = 15
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Board</title>
<h1>Board</h1><form method="post"><input name="text" aria-label="Note" autofocus required> <button>Put up</button></form>
<ul>{notes}</ul>"""


class Refused(Exception):
    """What the store said, and the token to go on with, if not with the same."""

    def __init__(self, why, token):
        super().__init__(str(why))
        self.token = token


def connected(connection):
    """A new connection reads here; what it writes goes to the leader all the same."""
    connection.on_connect()
    connection.send_command("READONLY")
    connection.read_response()


def ask(store, token, *command):
    """Does one command where everything is seen that this visitor has seen: its reply, and the token of what he has seen then."""
    with store.pipeline(transaction=False) as pipe:
        # One round trip. A connection serves many visitors, one after the other: none has to wait for what others have seen.
        pipe.execute_command("SESSION", "RESET")
        if token:
            pipe.execute_command("SESSION", "RESUME", token)
        pipe.execute_command(*command)
        pipe.execute_command("SESSION", "TOKEN")
        try:
            # A cookie that is of no session of this store is as good as none.
            reply, seen = pipe.execute(raise_on_error=False)[-2:]
        except redis.RedisError as error:
            raise Refused(error, None) from error
    token = None if isinstance(seen, Exception) else seen
    if isinstance(reply, Exception) or token is None:
        raise Refused(reply if token else seen, token)
    return reply, token


class Board(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/":
            return self.answer(404, "There is only one page here.")
        try:
            notes, token = ask(self.server.store, self.token(), "HGETALL", "board")
        except Refused as refused:
            return self.refuse(refused)
        newest = [notes[name] for name in sorted(notes, reverse=True)[:SHOWN]]
        self.answer(200, PAGE.format(notes="".join(f"<li>{html.escape(note)}</li>" for note in newest)), token)

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        length = int(length) if length.isdecimal() else 0
        if not 0 < length <= LENGTH_MAX:
            return self.answer(413, "A note has 1 to 10,000 bytes.")
        text = parse_qs(self.rfile.read(length).decode(errors="replace")).get("text", [""])[0]
        # A name of its own: a library that asks again after a lost connection does not put it up twice.
        name = f"{time.time_ns():020}-{secrets.token_hex(4)}"
        try:
            _, token = ask(self.server.store, self.token(), "HSET", "board", name, text)
        except Refused as refused:
            return self.refuse(refused)
        self.answer(303, "", token, Location="/")

    def token(self):
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        return cookie and cookie.value

    def refuse(self, refused):
        why = html.escape(str(refused))
        if why.startswith("LOSTWRITE"):
            # It is said once, and the session goes on without.
            return self.answer(409, f"A failover has lost something that you have seen ({why}). Reload to go on.", refused.token)
        # The replica is gone, or lacks what the visitor has seen and can reach nobody who has it.
        self.answer(503, f"Not now ({why}). Try again in a moment.", **{"Retry-After": "1"})

    def answer(self, status, text, token=None, **headers):
        body = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if token:
            self.send_header("Set-Cookie", f"session={token}; Path=/; HttpOnly; SameSite=Lax")
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    here, replica = (address.rsplit(":", 1) for address in sys.argv[1:3])
    server = ThreadingHTTPServer((here[0], int(here[1])), Board)
    server.store = redis.Redis(host=replica[0], port=int(replica[1]), decode_responses=True, redis_connect_func=connected, socket_timeout=TIMEOUT)
    print("http://{}:{}/".format(*server.server_address), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
