-- What was in the log when a delivery came: what was asked for since is newer than it, whatever the clocks of the
-- servers said that took the one and the other.
ALTER TABLE deliveries ADD COLUMN log_head bigint;
