-- The views of what happens in and around sandboxes: commands, previews, names of secrets, what was used.

CREATE TABLE commands (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX commands_by_time ON commands (org_id, sort_key, id);
CREATE INDEX commands_by_status ON commands (org_id, status, sort_key, id);
CREATE INDEX commands_by_project ON commands (org_id, project_id, sort_key, id);
CREATE INDEX commands_by_project_status ON commands (org_id, project_id, status, sort_key, id);
CREATE INDEX commands_by_parent ON commands (org_id, parent, sort_key, id);
CREATE TABLE commands_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX commands_labels_by_value ON commands_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE previews (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX previews_by_time ON previews (org_id, sort_key, id);
CREATE INDEX previews_by_status ON previews (org_id, status, sort_key, id);
CREATE INDEX previews_by_project ON previews (org_id, project_id, sort_key, id);
CREATE INDEX previews_by_project_status ON previews (org_id, project_id, status, sort_key, id);
CREATE INDEX previews_by_parent ON previews (org_id, parent, sort_key, id);
CREATE TABLE previews_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX previews_labels_by_value ON previews_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE secrets (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX secrets_by_time ON secrets (org_id, sort_key, id);
CREATE INDEX secrets_by_status ON secrets (org_id, status, sort_key, id);
CREATE INDEX secrets_by_project ON secrets (org_id, project_id, sort_key, id);
CREATE INDEX secrets_by_project_status ON secrets (org_id, project_id, status, sort_key, id);
CREATE INDEX secrets_by_parent ON secrets (org_id, parent, sort_key, id);
CREATE TABLE secrets_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX secrets_labels_by_value ON secrets_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE usage (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX usage_by_time ON usage (org_id, sort_key, id);
CREATE INDEX usage_by_status ON usage (org_id, status, sort_key, id);
CREATE INDEX usage_by_project ON usage (org_id, project_id, sort_key, id);
CREATE INDEX usage_by_project_status ON usage (org_id, project_id, status, sort_key, id);
CREATE INDEX usage_by_parent ON usage (org_id, parent, sort_key, id);
CREATE TABLE usage_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX usage_labels_by_value ON usage_labels (org_id, name, value, sort_key, row_id);

-- Older events must be folded into them: the next start does it, in one transaction (maintenance.rebuild).
INSERT INTO records (kind, id, doc) VALUES ('refold', 'views', x'');
