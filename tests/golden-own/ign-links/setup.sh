ln -s d l; ln -s f g
