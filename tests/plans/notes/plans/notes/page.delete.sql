DELETE FROM book.page WHERE owner = ANY (:users)
