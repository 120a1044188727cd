-- The legacy invoicing product, as ten years of a Django application left it: bigint ids, enums as small
-- integers, booleans that may be NULL, naive timestamps (server code writes UTC, user-facing ones are local
-- with the zone beside them), rows that are "deleted" by a date, caches that nobody dares to drop.
CREATE SCHEMA shop;

CREATE TABLE shop.django_migrations (
    id      bigserial PRIMARY KEY,
    app     varchar(255) NOT NULL,
    name    varchar(255) NOT NULL,
    applied timestamptz NOT NULL
);

CREATE TABLE shop.auth_user (
    id           bigserial PRIMARY KEY,
    password     varchar(128) NOT NULL,
    last_login   timestamp,
    is_superuser boolean NOT NULL,
    username     varchar(150) NOT NULL UNIQUE,
    email        varchar(254) NOT NULL,
    is_active    boolean NOT NULL,
    date_joined  timestamp NOT NULL
);

CREATE TABLE shop.invoice (
    id            bigserial PRIMARY KEY,
    owner_id      bigint NOT NULL REFERENCES shop.auth_user (id) DEFERRABLE INITIALLY DEFERRED,
    number        varchar(32) NOT NULL,
    customer_name varchar(200) NOT NULL,
    status        smallint NOT NULL,
    total         numeric(12, 2) NOT NULL,
    issued_on     date NOT NULL,
    created_at    timestamp NOT NULL
);
CREATE INDEX invoice_owner_id ON shop.invoice (owner_id);

CREATE TABLE shop.invoice_line (
    id          bigserial PRIMARY KEY,
    invoice_id  bigint NOT NULL REFERENCES shop.invoice (id) DEFERRABLE INITIALLY DEFERRED,
    description text NOT NULL,
    amount      numeric(12, 2) NOT NULL
);
CREATE INDEX invoice_line_invoice_id ON shop.invoice_line (invoice_id);

-- kind: 0 before the due date, 1 on it, 2 after it. channel: 1 e-mail, 2 SMS, 3 letter; NULL means e-mail.
-- enabled: NULL means yes. send_at: local time in `zone`; NULL means "when the nightly job comes by".
CREATE TABLE shop.invoice_reminder (
    id          bigserial PRIMARY KEY,
    invoice_id  bigint NOT NULL REFERENCES shop.invoice (id) DEFERRABLE INITIALLY DEFERRED,
    kind        smallint NOT NULL,
    channel     smallint,
    days_offset integer NOT NULL,
    send_at     timestamp,
    zone        varchar(64) NOT NULL,
    subject     varchar(200) NOT NULL,
    body        text NOT NULL,
    enabled     boolean,
    amount_cap  numeric(12, 2),
    old_hash    varchar(40),
    created_at  timestamp NOT NULL,
    modified_at timestamp NOT NULL,
    deleted_at  timestamp
);
CREATE INDEX invoice_reminder_invoice_id ON shop.invoice_reminder (invoice_id);
CREATE INDEX invoice_reminder_send_at ON shop.invoice_reminder (send_at);

CREATE TABLE shop.reminder_recipient (
    id          bigserial PRIMARY KEY,
    reminder_id bigint NOT NULL REFERENCES shop.invoice_reminder (id) DEFERRABLE INITIALLY DEFERRED,
    email       varchar(254) NOT NULL,
    tags        text[],
    bounced_at  timestamp
);
CREATE INDEX reminder_recipient_reminder_id ON shop.reminder_recipient (reminder_id);

CREATE TABLE shop.reminder_sent (
    id          bigserial PRIMARY KEY,
    reminder_id bigint NOT NULL REFERENCES shop.invoice_reminder (id) DEFERRABLE INITIALLY DEFERRED,
    sent_at     timestamp NOT NULL,
    smtp_answer text
);
CREATE INDEX reminder_sent_reminder_id ON shop.reminder_sent (reminder_id);

-- What a new user is offered. It belongs to nobody.
CREATE TABLE shop.reminder_default (
    id          serial PRIMARY KEY,
    kind        smallint NOT NULL,
    days_offset integer NOT NULL,
    subject     varchar(200) NOT NULL,
    body        text NOT NULL
);

-- numbering: 0 by year, 1 without end, 2 by month. paper: 0 A4, 1 letter; NULL means A4.
-- tax_mode: 1 net, 2 gross, 3 exempt. show_logo: NULL means yes. send_time: local time in `zone`.
CREATE TABLE shop.invoice_settings (
    id           bigserial PRIMARY KEY,
    user_id      bigint NOT NULL UNIQUE REFERENCES shop.auth_user (id) DEFERRABLE INITIALLY DEFERRED,
    numbering    smallint NOT NULL,
    paper        smallint,
    tax_mode     smallint NOT NULL,
    currency     varchar(3) NOT NULL,
    default_rate numeric(6, 4),
    late_fee     numeric,
    logo_scale   double precision NOT NULL,
    show_logo    boolean,
    attach_pdf   boolean NOT NULL,
    due_days     integer NOT NULL,
    send_time    time NOT NULL,
    zone         varchar(64) NOT NULL,
    footer       text NOT NULL,
    signature    text,
    preferences  jsonb NOT NULL,
    css_cache    text,
    old_plan     integer,
    modified_at  timestamp NOT NULL
);

INSERT INTO shop.django_migrations (app, name, applied) VALUES
    ('shop', '0001_initial', '2014-03-01 09:00:00+00'),
    ('shop', '0042_reminder_channel', '2017-11-23 16:12:08+00'),
    ('shop', '0117_invoice_settings_preferences', '2022-06-30 07:45:31+00');

INSERT INTO shop.reminder_default (kind, days_offset, subject, body) VALUES
    (0, -3, 'Invoice {{ invoice.number }} is due soon', 'Dear {{ customer.name }},'),
    (1, 0, 'Invoice {{ invoice.number }} is due today', 'Dear {{ customer.name }},'),
    (2, 7, 'Invoice {{ invoice.number }} is overdue', 'Dear {{ customer.name }},');
