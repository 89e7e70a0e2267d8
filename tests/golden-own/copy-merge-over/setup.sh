ln -s a d/b; chmod 770 d/s
