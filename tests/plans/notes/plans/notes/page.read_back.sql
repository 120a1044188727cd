SELECT p.owner, p.id, p.words FROM book.page p WHERE p.owner = ANY (:users)
