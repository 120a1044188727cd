DELETE FROM board.entry WHERE owner = ANY (:users)
