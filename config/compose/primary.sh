#!/bin/sh
# Run once by the legacy primary's image, when its data folder is new: lets the replica follow.
set -eu

psql --set ON_ERROR_STOP=1 --set password="$REPLICATION_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'password';
SQL

# The image's own line for all databases does not cover replication connections.
echo 'host replication replicator samenet scram-sha-256' >>"$PGDATA/pg_hba.conf"
