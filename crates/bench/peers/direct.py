"""Moves users FIRST to LAST, one by one, in so many processes. Each says `ready`, and begins at a line on its input."""

import sys

from move import move, session

first, last, step = map(int, sys.argv[1:])
session("PEER_SOURCE"), session("PEER_TARGET")
print("ready", flush=True)
sys.stdin.readline()
for user in range(first, last + 1, step):
    move(user)
