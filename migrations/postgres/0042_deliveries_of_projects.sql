-- A project may have webhooks of its own: what they tell is of that project, whatever the repository's id at its host.
ALTER TABLE deliveries ADD COLUMN project uuid;
CREATE INDEX deliveries_project ON deliveries (project, reference, id) WHERE project IS NOT NULL;
