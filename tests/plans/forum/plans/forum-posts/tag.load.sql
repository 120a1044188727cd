-- In order, so that two bundles that bring the same new labels do not wait for each other in a circle.
INSERT INTO board.label (name)
SELECT DISTINCT n.label
  FROM tag n
 ORDER BY n.label
    ON CONFLICT (name) DO NOTHING;

INSERT INTO board.entry_label (entry_id, label_id, weight)
SELECT e.id, l.id, n.weight
  FROM tag n
  JOIN board.entry e ON e.legacy_no = n.post AND e.owner = n.user_key
  JOIN board.label l ON l.name = n.label
