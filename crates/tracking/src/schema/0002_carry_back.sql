-- A rollback that was told to carry changes back to legacy, from the request to the attempt.
ALTER TABLE handover.request ADD COLUMN carry_back boolean NOT NULL DEFAULT false;
ALTER TABLE handover.open_attempt ADD COLUMN carry_back boolean NOT NULL DEFAULT false;
