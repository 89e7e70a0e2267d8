mkdir -p -m 700 t/p/q; echo f > t/p/q/f; chmod 600 t/p/q/f; chmod 700 t/p; tar --numeric-owner --owner=0 --group=0 --mtime=@1200000000 --sort=name -cf a.tar -C t p/q/f; rm -r t
