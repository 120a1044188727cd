"""RQ: queues so many jobs that do nothing, then works them off in this process, its faster way. Prints both in s."""

import os
import sys
import time

from redis import Redis
from rq import Queue, SimpleWorker

connection = Redis.from_url(os.environ["PEER_BROKER"])
queue = Queue("bench", connection=connection)
jobs = [Queue.prepare_data(time.time, result_ttl=0) for _ in range(int(sys.argv[1]))]
began = time.time()
queue.enqueue_many(jobs)
queued = time.time()
SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")
print(queued - began, time.time() - queued)
