-- The views: caches folded from the log, all of them dropped and rebuilt at will. Each is a table of
-- rows (eventstore/views.py) and a table of their labels. A listing selects by equal columns and goes
-- down (sort_key, id), so each way to select has an index that ends in those two.

CREATE TABLE runs (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX runs_by_time ON runs (org_id, sort_key, id);
CREATE INDEX runs_by_status ON runs (org_id, status, sort_key, id);
CREATE INDEX runs_by_project ON runs (org_id, project_id, sort_key, id);
CREATE INDEX runs_by_project_status ON runs (org_id, project_id, status, sort_key, id);
CREATE INDEX runs_by_parent ON runs (org_id, parent, sort_key, id);
CREATE TABLE runs_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX runs_labels_by_value ON runs_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE evidence (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX evidence_by_time ON evidence (org_id, sort_key, id);
CREATE INDEX evidence_by_status ON evidence (org_id, status, sort_key, id);
CREATE INDEX evidence_by_project ON evidence (org_id, project_id, sort_key, id);
CREATE INDEX evidence_by_project_status ON evidence (org_id, project_id, status, sort_key, id);
CREATE INDEX evidence_by_parent ON evidence (org_id, parent, sort_key, id);
CREATE TABLE evidence_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX evidence_labels_by_value ON evidence_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE artifacts (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX artifacts_by_time ON artifacts (org_id, sort_key, id);
CREATE INDEX artifacts_by_status ON artifacts (org_id, status, sort_key, id);
CREATE INDEX artifacts_by_project ON artifacts (org_id, project_id, sort_key, id);
CREATE INDEX artifacts_by_project_status ON artifacts (org_id, project_id, status, sort_key, id);
CREATE INDEX artifacts_by_parent ON artifacts (org_id, parent, sort_key, id);
CREATE TABLE artifacts_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX artifacts_labels_by_value ON artifacts_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE sandboxes (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX sandboxes_by_time ON sandboxes (org_id, sort_key, id);
CREATE INDEX sandboxes_by_status ON sandboxes (org_id, status, sort_key, id);
CREATE INDEX sandboxes_by_project ON sandboxes (org_id, project_id, sort_key, id);
CREATE INDEX sandboxes_by_project_status ON sandboxes (org_id, project_id, status, sort_key, id);
CREATE INDEX sandboxes_by_parent ON sandboxes (org_id, parent, sort_key, id);
CREATE TABLE sandboxes_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX sandboxes_labels_by_value ON sandboxes_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE organizations (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX organizations_by_time ON organizations (org_id, sort_key, id);
CREATE INDEX organizations_by_status ON organizations (org_id, status, sort_key, id);
CREATE INDEX organizations_by_project ON organizations (org_id, project_id, sort_key, id);
CREATE INDEX organizations_by_project_status ON organizations (org_id, project_id, status, sort_key, id);
CREATE INDEX organizations_by_parent ON organizations (org_id, parent, sort_key, id);
CREATE TABLE organizations_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX organizations_labels_by_value ON organizations_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE users (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX users_by_time ON users (org_id, sort_key, id);
CREATE INDEX users_by_status ON users (org_id, status, sort_key, id);
CREATE INDEX users_by_project ON users (org_id, project_id, sort_key, id);
CREATE INDEX users_by_project_status ON users (org_id, project_id, status, sort_key, id);
CREATE INDEX users_by_parent ON users (org_id, parent, sort_key, id);
CREATE TABLE users_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX users_labels_by_value ON users_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE projects (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX projects_by_time ON projects (org_id, sort_key, id);
CREATE INDEX projects_by_status ON projects (org_id, status, sort_key, id);
CREATE INDEX projects_by_project ON projects (org_id, project_id, sort_key, id);
CREATE INDEX projects_by_project_status ON projects (org_id, project_id, status, sort_key, id);
CREATE INDEX projects_by_parent ON projects (org_id, parent, sort_key, id);
CREATE TABLE projects_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX projects_labels_by_value ON projects_labels (org_id, name, value, sort_key, row_id);

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    project_id TEXT NOT NULL,
    parent     TEXT NOT NULL,
    status     TEXT NOT NULL,
    sort_key   TEXT NOT NULL,
    doc        BLOB NOT NULL
);
CREATE INDEX api_keys_by_time ON api_keys (org_id, sort_key, id);
CREATE INDEX api_keys_by_status ON api_keys (org_id, status, sort_key, id);
CREATE INDEX api_keys_by_project ON api_keys (org_id, project_id, sort_key, id);
CREATE INDEX api_keys_by_project_status ON api_keys (org_id, project_id, status, sort_key, id);
CREATE INDEX api_keys_by_parent ON api_keys (org_id, parent, sort_key, id);
CREATE TABLE api_keys_labels (
    row_id   TEXT NOT NULL,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    org_id   TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    PRIMARY KEY (row_id, name)
) WITHOUT ROWID;
CREATE INDEX api_keys_labels_by_value ON api_keys_labels (org_id, name, value, sort_key, row_id);
