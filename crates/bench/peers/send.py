"""Queues users FIRST to LAST as Celery tasks, or so many tasks that do nothing."""

import sys

import tasks

if sys.argv[1] == "nothing":
    for _ in range(int(sys.argv[2])):
        tasks.nothing.delay()
else:
    for user in range(int(sys.argv[1]), int(sys.argv[2]) + 1):
        tasks.move.delay(user)
