-- Usage is counted per day too, so that it can be shown over time: older events are folded again at the next
-- start, in one transaction (maintenance.rebuild).
INSERT OR REPLACE INTO records (kind, id, doc) VALUES ('refold', 'views', x'');
