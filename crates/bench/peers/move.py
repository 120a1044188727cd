"""What a team would write in Python: one user's whole job. Read, hash, one transaction, read back, compare."""

import hashlib
import json
import os
import uuid

import psycopg

NAMESPACE = uuid.UUID("0b6ac4d2-6f0e-4f0e-9d0c-0e6f3b1f7a11")
KINDS = ["before_due", "on_due", "after_due"]
CHANNELS = ["email", "sms", "letter"]

READ_REMINDERS = """
    SELECT r.id, r.invoice_id, r.kind, coalesce(r.channel, 1), r.days_offset, r.send_at, r.zone, r.subject, r.body,
           coalesce(r.enabled, true), r.amount_cap, r.created_at AT TIME ZONE 'UTC', r.modified_at AT TIME ZONE 'UTC'
      FROM shop.invoice i JOIN shop.invoice_reminder r ON r.invoice_id = i.id
     WHERE i.owner_id = %s AND r.deleted_at IS NULL"""
READ_RECIPIENTS = """
    SELECT x.id, x.reminder_id, x.email, coalesce(x.tags, '{}'::text[])
      FROM shop.invoice i JOIN shop.invoice_reminder r ON r.invoice_id = i.id
      JOIN shop.reminder_recipient x ON x.reminder_id = r.id
     WHERE i.owner_id = %s AND r.deleted_at IS NULL"""
BACK_REMINDERS = """
    SELECT legacy_id, invoice_id, array_position(enum_range(NULL::reminders.reminder_kind), kind) - 1,
           array_position(enum_range(NULL::reminders.channel), channel), (schedule ->> 'days')::int4,
           (schedule ->> 'at')::timestamp, schedule ->> 'zone', subject, body, enabled, amount_cap, created_at,
           modified_at
      FROM peer.reminder WHERE owner_id = %s"""
BACK_RECIPIENTS = """
    SELECT x.legacy_id, r.legacy_id, x.email, x.tags
      FROM peer.reminder r JOIN peer.recipient x ON x.reminder_id = r.id WHERE r.owner_id = %s"""

_sessions = {}


def session(name):
    key = (os.getpid(), name)
    if key not in _sessions:
        _sessions[key] = psycopg.connect(os.environ[name], autocommit=True, prepare_threshold=1)
    return _sessions[key]


def digest(rows):
    total = 0
    for row in rows:
        total += int.from_bytes(hashlib.sha256(repr(row).encode()).digest(), "big")
    return (len(rows), total % (1 << 256))


def key(number):
    return uuid.uuid5(NAMESPACE, str(number))


def reminder(user, r):
    at = r[5].isoformat() if r[5] is not None else None
    schedule = json.dumps({"days": r[4], "at": at, "zone": r[6]})
    return (key(r[0]), user, r[1], r[0], KINDS[r[2]], CHANNELS[r[3] - 1], schedule, r[7], r[8], r[9], r[10], "legacy",
            r[11], r[12])


def move(user):
    source, target = session("PEER_SOURCE"), session("PEER_TARGET")
    reminders = source.execute(READ_REMINDERS, (user,)).fetchall()
    recipients = source.execute(READ_RECIPIENTS, (user,)).fetchall()
    before = digest(reminders), digest(recipients)
    with target.transaction(), target.cursor() as cursor:
        with cursor.copy("COPY peer.reminder (id, owner_id, invoice_id, legacy_id, kind, channel, schedule, subject, "
                         "body, enabled, amount_cap, origin, created_at, modified_at) FROM STDIN") as copy:
            for row in reminders:
                copy.write_row(reminder(user, row))
        with cursor.copy("COPY peer.recipient (reminder_id, legacy_id, email, tags) FROM STDIN") as copy:
            for row in recipients:
                copy.write_row((key(row[1]), row[0], row[2], row[3]))
    after = (digest(target.execute(BACK_REMINDERS, (user,)).fetchall()),
             digest(target.execute(BACK_RECIPIENTS, (user,)).fetchall()))
    if before != after:
        raise ValueError("a user's rows differ")
