mkdir t t/d; echo 1 > t/d/1; ln t/d/1 t/d/2; ln t/d/1 t/3; tar --numeric-owner --owner=0 --group=0 --mtime=@1200000000 --sort=name -cf a.tar -C t d 3; rm -r t
