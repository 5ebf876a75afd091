-- The queue of builds. Its rows of work have a place in it, and each team's last turn is known. Places and turns are
-- numbers of one sequence, the one that gives the fences: who has waited longest is told without any clock.
ALTER TABLE work ADD COLUMN arrived bigint NOT NULL DEFAULT nextval('work_fence');

-- One row a team that has ever had a build taken.
CREATE TABLE build_turns (
    team_id text   PRIMARY KEY,
    -- The fence of the last build that was taken.
    last    bigint NOT NULL,
    -- How many were taken.
    turns   bigint NOT NULL
);
