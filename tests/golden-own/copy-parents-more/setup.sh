chmod 711 d
