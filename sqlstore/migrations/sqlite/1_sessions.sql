-- One row for each session. owner is a digest of issuer and subject, session one
-- of id. Times are microseconds since 1970. mark is what the call wrote that
-- advanced the row last. sweep_hour is the hour since 1970 from which the row may
-- be removed; it changes at most once an hour.
CREATE TABLE {prefix}sessions (
	owner      BLOB    NOT NULL,
	session    BLOB    NOT NULL,
	generation INTEGER NOT NULL,
	previous   INTEGER NOT NULL,
	rotated_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	sweep_hour INTEGER NOT NULL,
	mark       INTEGER NOT NULL,
	issuer     BLOB    NOT NULL,
	subject    BLOB    NOT NULL,
	id         BLOB    NOT NULL,
	data       BLOB    NOT NULL,
	PRIMARY KEY (owner, session)
) STRICT;
CREATE INDEX {prefix}sessions_sweep ON {prefix}sessions (sweep_hour);
