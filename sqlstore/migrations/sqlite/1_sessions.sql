-- One row for each session. owner is a digest of issuer and subject, and session is a
-- digest of id. Times are microseconds since 1970. advanced_by is a random number of the
-- call that advanced the row last. sweep_hour is the hour since 1970 from which on the row
-- may be removed. It changes at most once an hour.
CREATE TABLE {prefix}sessions (
	owner       BLOB    NOT NULL,
	session     BLOB    NOT NULL,
	generation  INTEGER NOT NULL,
	previous    INTEGER NOT NULL,
	rotated_at  INTEGER NOT NULL,
	expires_at  INTEGER NOT NULL,
	sweep_hour  INTEGER NOT NULL,
	advanced_by INTEGER NOT NULL,
	issuer      BLOB    NOT NULL,
	subject     BLOB    NOT NULL,
	id          BLOB    NOT NULL,
	data        BLOB    NOT NULL,
	PRIMARY KEY (owner, session)
) STRICT;
CREATE INDEX {prefix}sessions_sweep ON {prefix}sessions (sweep_hour);
