SELECT n.login, n.id, n.text AS words FROM pad.note n WHERE n.login = ANY (:users)
