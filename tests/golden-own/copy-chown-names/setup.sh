ln -s x d/l
