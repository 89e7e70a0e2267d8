mkdir t; head -c 5000 /dev/zero > t/1; tar --numeric-owner --owner=0 --group=0 --mtime=@1200000000 --sort=name -c -C t 1 | head -c 2000 > a.tar; rm -r t
