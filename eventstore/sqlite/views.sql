-- The statements on one view, whose name is filled in. A row's columns come in the order of
-- `ViewRow`, its labels as one JSON object.

-- get --
SELECT id, org_id, doc, project_id, parent, status, sort_key,
       (SELECT json_group_object(name, value) FROM {view}_labels WHERE row_id = id)
  FROM {view}
 WHERE id = ?;

-- put_doc --
-- Most changes are of the document alone; this leaves the six indexes in peace.
UPDATE {view}
   SET doc = ?
 WHERE id = ? AND org_id = ? AND project_id = ? AND parent = ? AND status = ? AND sort_key = ?;

-- put --
INSERT INTO {view} (doc, id, org_id, project_id, parent, status, sort_key)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE
   SET doc = excluded.doc, org_id = excluded.org_id, project_id = excluded.project_id,
       parent = excluded.parent, status = excluded.status, sort_key = excluded.sort_key;

-- labels --
SELECT name, value, org_id, sort_key FROM {view}_labels WHERE row_id = ?;

-- put_label --
INSERT INTO {view}_labels (row_id, name, value, org_id, sort_key) VALUES (?, ?, ?, ?, ?);

-- delete_labels --
DELETE FROM {view}_labels WHERE row_id = ?;

-- delete --
DELETE FROM {view} WHERE id = ?;

-- clear --
DELETE FROM {view};

-- clear_labels --
DELETE FROM {view}_labels;

-- dump --
SELECT id, org_id, project_id, parent, status, sort_key, doc FROM {view} ORDER BY id;

-- dump_labels --
SELECT row_id, name, value, org_id, sort_key FROM {view}_labels ORDER BY row_id, name;

-- list --
-- The arms choose ids by index alone, a page each at most; here the best of them become rows. {order} is
-- DESC, or ASC to go back a page.
WITH chosen(id, sort_key) AS (
    {arms}
)
SELECT v.id, v.org_id, v.doc, v.project_id, v.parent, v.status, v.sort_key,
       (SELECT json_group_object(name, value) FROM {view}_labels WHERE row_id = v.id)
  FROM chosen CROSS JOIN {view} AS v ON v.id = chosen.id
 ORDER BY chosen.sort_key {order}, chosen.id {order}
 LIMIT ?;

-- count --
SELECT count(*) FROM (
    {arms}
    LIMIT ?
);

-- arm_by_columns --
SELECT id, sort_key
  FROM {view}
 WHERE {conditions}
 ORDER BY sort_key {order}, id {order}
 LIMIT ?

-- arm_by_label --
SELECT l.row_id, l.sort_key
  FROM {view}_labels AS l CROSS JOIN {view} AS v ON v.id = l.row_id
 WHERE {conditions}
 ORDER BY l.sort_key {order}, l.row_id {order}
 LIMIT ?
