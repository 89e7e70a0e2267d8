mkdir t; echo 1 > t/1; tar --numeric-owner --owner=0 --group=0 --mtime=@1200000000 --sort=name -cf a.tar -C t 1; rm -r t
