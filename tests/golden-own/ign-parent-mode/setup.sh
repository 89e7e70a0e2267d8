chmod 700 a; chmod 711 a/b
