-- parent is the generation of the token that was presented at the last step. parent_step is
-- the generation that this step made; if it is not the generation of the row, a program of
-- version 2 has made the last step. epoch is that of the good access tokens. details is what
-- people see of the session. Programs of version 2 set none of these columns, so all have a
-- default. No index has them, so that most updates change no index.
ALTER TABLE {prefix}sessions
	ADD COLUMN parent      bigint NOT NULL DEFAULT 0,
	ADD COLUMN parent_step bigint NOT NULL DEFAULT 0,
	ADD COLUMN epoch       bigint NOT NULL DEFAULT 0,
	ADD COLUMN details     bytea  NOT NULL DEFAULT '';
-- oldest_program is the oldest version whose programs can use tables of this version. NULL
-- means the version itself. Each migration that keeps the tables usable sets it.
ALTER TABLE {prefix}schema ADD COLUMN oldest_program bigint;
UPDATE {prefix}schema SET oldest_program = 2 WHERE version = 3;
