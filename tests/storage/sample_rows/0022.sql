-- An installation of somebody who has nothing to do with a lab.
INSERT INTO installation (installation_id, repository_selection, state) VALUES (9901, 'all', 'active');
