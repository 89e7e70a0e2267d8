ln -s d l; ln -s x d/k
