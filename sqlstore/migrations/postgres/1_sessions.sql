-- One row for each session. owner is a digest of issuer and subject, and session is a
-- digest of id, because these texts may be too long for an index. Times are microseconds
-- since 1970. advanced_by is a random number of the call that advanced the row last.
-- sweep_hour is the hour since 1970 from which on the row may be removed. It changes at
-- most once an hour, so most updates change no index and use the space that fillfactor
-- leaves.
CREATE TABLE {prefix}sessions (
	owner       bytea  NOT NULL,
	session     bytea  NOT NULL,
	generation  bigint NOT NULL,
	previous    bigint NOT NULL,
	rotated_at  bigint NOT NULL,
	expires_at  bigint NOT NULL,
	sweep_hour  bigint NOT NULL,
	advanced_by bigint NOT NULL,
	issuer      bytea  NOT NULL,
	subject     bytea  NOT NULL,
	id          bytea  NOT NULL,
	data        bytea  NOT NULL,
	PRIMARY KEY (owner, session)
) WITH (fillfactor = 80);
CREATE INDEX {prefix}sessions_sweep ON {prefix}sessions (sweep_hour);
