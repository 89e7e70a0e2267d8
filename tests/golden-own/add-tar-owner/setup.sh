mkdir t t/s; echo 1 > t/1; echo 2 > t/s/2; ln -s 1 t/l; chmod 4755 t/s/2; chmod 750 t/s; tar --numeric-owner --owner=7 --group=8 --sort=name -cf a.tar -C t .; rm -r t
