#!/bin/sh
# Run once by a database's image, when its data folder is new: makes the role that handover connects as.
# HANDOVER_MAY says what it may do beside reading: `read` nothing, `write` change rows and make its own schema.
set -eu

run() {
    psql --set ON_ERROR_STOP=1 --set password="$HANDOVER_PASSWORD" --set database="$POSTGRES_DB" \
        --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"
}

run <<'SQL'
CREATE ROLE handover LOGIN PASSWORD :'password';
GRANT pg_read_all_data TO handover;
SQL

case "$HANDOVER_MAY" in
read) ;;
write)
    run <<'SQL'
GRANT pg_write_all_data TO handover;
GRANT CREATE ON DATABASE :"database" TO handover;
SQL
    ;;
*)
    echo "HANDOVER_MAY is '$HANDOVER_MAY', but must be read or write" >&2
    exit 1
    ;;
esac
