rm d/s/.k; chown -R 5:6 d; chmod 6711 d/x; chmod 1777 d/s; ln -s x d/l; chown -h 5:6 d/l
