"""The same job as a Celery task: acknowledged when it has ended, so at least once. And one that does nothing."""

import os

from celery import Celery

import move as job

app = Celery("tasks", broker=os.environ["PEER_BROKER"])
app.conf.task_acks_late = True
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_hijack_root_logger = False


@app.task(acks_late=True)
def move(user):
    job.move(user)


@app.task(acks_late=True)
def nothing():
    pass
