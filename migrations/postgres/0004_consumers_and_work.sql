-- Who has read how far, and what is to be done.

-- One row a consumer of the log: a read model or a process. `fence` rises with every new holder of the lease;
-- a holder whose fence is not the row's any more can no longer move the checkpoint.
CREATE TABLE consumers (
    name        text        PRIMARY KEY,
    version     integer     NOT NULL,
    position    bigint      NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    fence       bigint      NOT NULL DEFAULT 0
);

-- Fencing tokens of work: later takers have higher ones.
CREATE SEQUENCE work_fence;

-- One row a piece of work of a process. Stored in the transaction that moves the process's checkpoint.
CREATE TABLE work (
    id             uuid        PRIMARY KEY,
    process        text        NOT NULL,
    -- What it is about: the same key is the same work.
    key            text        NOT NULL,
    -- Only one piece of work of a lane runs at a time.
    lane           text        NOT NULL,
    payload        jsonb       NOT NULL,
    state          text        NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'running', 'done', 'dead')),
    run_at         timestamptz NOT NULL,
    attempts       integer     NOT NULL DEFAULT 0,
    lease_owner    text,
    lease_until    timestamptz,
    fence          bigint,
    cause_event    uuid        NOT NULL,
    cause_position bigint      NOT NULL,
    correlation    text        NOT NULL,
    last_error     text,
    created_at     timestamptz NOT NULL,
    finished_at    timestamptz,
    UNIQUE (process, key)
);
CREATE INDEX work_open ON work (process, run_at) WHERE state IN ('ready', 'running');
CREATE INDEX work_lane ON work (lane) WHERE state = 'running';
