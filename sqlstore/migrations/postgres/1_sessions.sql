-- One row for each session. owner is a digest of issuer and subject, session one
-- of id: they may be longer than an index entry. Times are microseconds since
-- 1970. mark is what the call wrote that advanced the row last. sweep_hour, the
-- hour since 1970 from which the row may be removed, changes at most once an
-- hour, so that most updates touch no index; the space that fillfactor leaves is
-- for them.
CREATE TABLE {prefix}sessions (
	owner      bytea  NOT NULL,
	session    bytea  NOT NULL,
	generation bigint NOT NULL,
	previous   bigint NOT NULL,
	rotated_at bigint NOT NULL,
	expires_at bigint NOT NULL,
	sweep_hour bigint NOT NULL,
	mark       bigint NOT NULL,
	issuer     bytea  NOT NULL,
	subject    bytea  NOT NULL,
	id         bytea  NOT NULL,
	data       bytea  NOT NULL,
	PRIMARY KEY (owner, session)
) WITH (fillfactor = 80);
CREATE INDEX {prefix}sessions_sweep ON {prefix}sessions (sweep_hour);
