#!/bin/sh
# Run once by the database's image, when its data folder is new: makes the role that the example application connects
# as, which reads and writes its tables and changes none. Your own application has one already.
set -eu

psql --set ON_ERROR_STOP=1 --set password="$INVOICING_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE invoicing LOGIN PASSWORD :'password';
GRANT pg_read_all_data, pg_write_all_data TO invoicing;
SQL
