#!/bin/sh
# The replica's entry point: takes a base backup of the primary when there is none yet, then follows it.
set -eu

if [ ! -d "$PGDATA" ]; then
    # A backup that was cut off is thrown away; only a whole one gets the name that counts.
    rm -rf "$PGDATA.new"
    PGPASSWORD="$REPLICATION_PASSWORD" pg_basebackup --host "$PRIMARY_HOST" --port "${PRIMARY_PORT:-5432}" \
        --username replicator --no-password --pgdata "$PGDATA.new" --wal-method stream --checkpoint fast \
        --write-recovery-conf
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres "$@"
