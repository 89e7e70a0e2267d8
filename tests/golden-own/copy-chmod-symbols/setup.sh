chmod 755 d/s/x; ln -s r d/l
