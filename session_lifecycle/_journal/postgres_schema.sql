-- The tables and functions of PostgresJournal. Installing them again changes nothing that is there.
--
-- A writer needs EXECUTE on the functions and SELECT on the tables, and no other right: the functions run as their
-- owner, with a fixed search_path. What they refuse they raise, so that the whole transaction is rolled back.
--
--   SL001  the term is over: another replica leads, or this holder has taken a later term
--   SL002  the journal is of another calendar; DETAIL is that calendar
--   SL003  *done* of the session is in the journal already
--   SL004  another record is in the journal at this seq, or a later one is

CREATE SCHEMA IF NOT EXISTS session_lifecycle;

CREATE TABLE IF NOT EXISTS session_lifecycle.journal (
    name     text   PRIMARY KEY,
    calendar text   NOT NULL,
    version  int    NOT NULL DEFAULT 1,
    term     bigint NOT NULL DEFAULT 0,  -- the fencing token, with the holder: each change of leader begins a new one
    holder   text   NOT NULL DEFAULT '', -- one open journal of one process; unique
    seq      bigint NOT NULL DEFAULT 0   -- of the newest record
);

-- A table of its own, so that renewing a lease never waits for the transaction of a roll.
CREATE TABLE IF NOT EXISTS session_lifecycle.lease (
    name       text        PRIMARY KEY REFERENCES session_lifecycle.journal ON DELETE CASCADE,
    term       bigint      NOT NULL,
    ttl        interval    NOT NULL,
    expires_at timestamptz NOT NULL      -- by this server's clock
);

-- In note and subject a backslash is \\, NUL is \x00, and half of a surrogate pair is \udXXX.
CREATE TABLE IF NOT EXISTS session_lifecycle.record (
    name       text        NOT NULL,     -- of a row of journal, which append() locks; no foreign key checks it again
    seq        bigint      NOT NULL CHECK (seq > 0),
    term       bigint      NOT NULL,
    entry      text        NOT NULL,
    session    date        NOT NULL,
    at         timestamptz NOT NULL,     -- by the writer's clock, for people to read
    target     date,
    skipped    date[]      NOT NULL DEFAULT '{}',
    open       timestamptz,
    close      timestamptz,
    note       text        NOT NULL DEFAULT '',
    subject    text        NOT NULL DEFAULT '',
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, seq)
);
-- No client, however wrong, completes one session twice.
CREATE UNIQUE INDEX IF NOT EXISTS record_done_once ON session_lifecycle.record (name, session) WHERE entry = 'done';

-- Take the lead where the lease is over, or, with p_again, where p_holder holds it: what it has sent under its last
-- term, on a connection that broke, is refused from then on. Never waits: a row that is locked is "not now".
CREATE OR REPLACE FUNCTION session_lifecycle.acquire(
    p_name text, p_calendar text, p_holder text, p_ttl interval, p_again boolean,
    OUT term bigint, OUT led boolean, OUT busy boolean, OUT version int, OUT server_time timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    j session_lifecycle.journal;
BEGIN
    -- Where the rows are there nothing is inserted: ON CONFLICT alone would wait for a transaction that has updated them.
    INSERT INTO session_lifecycle.journal (name, calendar)
    SELECT p_name, p_calendar WHERE NOT EXISTS (SELECT FROM session_lifecycle.journal WHERE name = p_name)
        ON CONFLICT DO NOTHING;
    INSERT INTO session_lifecycle.lease
    SELECT p_name, 0, p_ttl, 'epoch' WHERE NOT EXISTS (SELECT FROM session_lifecycle.lease WHERE name = p_name)
        ON CONFLICT DO NOTHING;
    -- The lock is held by a transaction that writes a record: none is in flight when the term changes.
    SELECT * INTO j FROM session_lifecycle.journal WHERE name = p_name FOR NO KEY UPDATE SKIP LOCKED;
    busy := NOT FOUND;
    IF busy THEN
        SELECT * INTO j FROM session_lifecycle.journal WHERE name = p_name;
    END IF;
    IF j.calendar <> p_calendar THEN
        RAISE EXCEPTION 'journal % is of calendar %, not %', p_name, j.calendar, p_calendar
            USING ERRCODE = 'SL002', DETAIL = j.calendar;
    END IF;
    term := j.term;
    version := j.version;
    server_time := clock_timestamp();
    led := false;
    IF NOT busy AND version = 1 THEN
        -- The server's clock may have been set back: no lease lasts longer than its own length from now on.
        UPDATE session_lifecycle.lease l SET expires_at = server_time + l.ttl
         WHERE l.name = p_name AND l.expires_at > server_time + l.ttl;
        UPDATE session_lifecycle.lease l SET term = j.term + 1, ttl = p_ttl, expires_at = server_time + p_ttl
         WHERE l.name = p_name AND CASE WHEN p_again THEN j.holder = p_holder ELSE l.expires_at <= server_time END;
        led := FOUND;
    END IF;
    IF led THEN
        term := j.term + 1;
        UPDATE session_lifecycle.journal n SET term = j.term + 1, holder = p_holder WHERE n.name = p_name;
        -- A term that a crash takes back could be given out a second time.
        IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
            PERFORM set_config('synchronous_commit', 'on', true);
        END IF;
        PERFORM pg_notify('session_lifecycle', p_name);
    END IF;
END $$;

-- Renew several leases in one statement; return the holders whose terms last.
CREATE OR REPLACE FUNCTION session_lifecycle.renew(
    p_names text[], p_terms bigint[], p_holders text[], p_ttls interval[])
RETURNS TABLE (holder text, server_time timestamptz)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE session_lifecycle.lease l SET ttl = given.ttl, expires_at = clock_timestamp() + given.ttl
      FROM unnest(p_names, p_terms, p_holders, p_ttls) AS given (name, term, holder, ttl), session_lifecycle.journal j
     WHERE l.name = given.name AND l.term = given.term
       AND j.name = given.name AND j.term = given.term AND j.holder = given.holder
    RETURNING given.holder, clock_timestamp();
$$;

-- Give up the lead, so that a standby takes it at once.
CREATE OR REPLACE FUNCTION session_lifecycle.release(p_name text, p_term bigint, p_holder text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    UPDATE session_lifecycle.lease l SET expires_at = 'epoch'
     WHERE l.name = p_name AND l.term = p_term
       AND EXISTS (SELECT FROM session_lifecycle.journal j
                    WHERE j.name = p_name AND j.term = p_term AND j.holder = p_holder);
    IF FOUND THEN
        PERFORM pg_notify('session_lifecycle', p_name);
    END IF;
    RETURN FOUND;
END $$;

-- Append records under a term, in the order of their seq: all or none. A record that is there already, the same at the
-- same seq, counts as appended.
CREATE OR REPLACE FUNCTION session_lifecycle.append(p_name text, p_term bigint, p_holder text, p_records jsonb)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    newest bigint;
BEGIN
    -- The lock of this row is held until the commit: a term ends before a record, or after it.
    UPDATE session_lifecycle.journal j SET seq = (p_records -> -1 ->> 'seq')::bigint
     WHERE j.name = p_name AND j.term = p_term AND j.holder = p_holder AND j.seq < (p_records -> 0 ->> 'seq')::bigint;
    IF FOUND THEN
        INSERT INTO session_lifecycle.record
            (name, seq, term, entry, session, at, target, skipped, open, close, note, subject)
        SELECT p_name, g.seq, p_term, g.entry, g.session, g.at, g.target, g.skipped, g.open, g.close, g.note, g.subject
          FROM jsonb_populate_recordset(NULL::session_lifecycle.record, p_records) g;
    ELSE
        SELECT j.seq INTO newest FROM session_lifecycle.journal j
         WHERE j.name = p_name AND j.term = p_term AND j.holder = p_holder FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'term % of journal % is over', p_term, p_name USING ERRCODE = 'SL001';
        END IF;
        IF EXISTS (
            SELECT FROM jsonb_populate_recordset(NULL::session_lifecycle.record, p_records) g
              LEFT JOIN session_lifecycle.record r ON r.name = p_name AND r.seq = g.seq
             WHERE g.seq <= newest
               AND (r.entry, r.session, r.at, r.target, r.skipped, r.open, r.close, r.note, r.subject)
                   IS DISTINCT FROM (g.entry, g.session, g.at, g.target, g.skipped, g.open, g.close, g.note, g.subject)
        ) THEN
            RAISE EXCEPTION 'journal % has another record at this seq, or a later one', p_name USING ERRCODE = 'SL004';
        END IF;
        INSERT INTO session_lifecycle.record
            (name, seq, term, entry, session, at, target, skipped, open, close, note, subject)
        SELECT p_name, g.seq, p_term, g.entry, g.session, g.at, g.target, g.skipped, g.open, g.close, g.note, g.subject
          FROM jsonb_populate_recordset(NULL::session_lifecycle.record, p_records) g
         WHERE g.seq > newest;
        UPDATE session_lifecycle.journal j SET seq = greatest(j.seq, (p_records -> -1 ->> 'seq')::bigint)
         WHERE j.name = p_name;
    END IF;
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_notify('session_lifecycle', p_name);
END $$;

-- Append *done* as the last statement of the application's own transaction, which commits with it or not at all. p_rest
-- is what is left of the lease, in milliseconds. The lease itself is not read: a transaction that is serializable would
-- be refused for a renewal since its snapshot.
CREATE OR REPLACE FUNCTION session_lifecycle.complete(
    p_name text, p_term bigint, p_holder text, p_record jsonb, p_rest int)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    newest bigint;
    given session_lifecycle.record := jsonb_populate_record(NULL::session_lifecycle.record, p_record);
BEGIN
    SELECT j.seq INTO newest FROM session_lifecycle.journal j
     WHERE j.name = p_name AND j.term = p_term AND j.holder = p_holder FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'term % of journal % is over', p_term, p_name USING ERRCODE = 'SL001';
    END IF;
    IF EXISTS (SELECT FROM session_lifecycle.record r
                WHERE r.name = p_name AND r.entry = 'done' AND r.session = given.session) THEN
        RAISE EXCEPTION 'done of session % is in journal % already', given.session, p_name USING ERRCODE = 'SL003';
    END IF;
    IF given.entry IS DISTINCT FROM 'done' OR given.seq <= newest THEN
        RAISE EXCEPTION 'journal % has a later record than seq %', p_name, given.seq USING ERRCODE = 'SL004';
    END IF;
    INSERT INTO session_lifecycle.record
        (name, seq, term, entry, session, at, target, skipped, open, close, note, subject)
    VALUES (p_name, given.seq, p_term, given.entry, given.session, given.at, given.target, given.skipped,
            given.open, given.close, given.note, given.subject);
    UPDATE session_lifecycle.journal j SET seq = given.seq WHERE j.name = p_name;
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- A process that is stopped between this and its COMMIT keeps others out no longer than its lease does.
    PERFORM set_config('idle_in_transaction_session_timeout', p_rest::text, true);
    PERFORM pg_notify('session_lifecycle', p_name);
END $$;
