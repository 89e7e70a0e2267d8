printf x | dd of=s bs=1 seek=1000000 2>/dev/null; truncate -s 1100000 s; tar -S --format=gnu --owner=0 --group=0 -cf a.tar s; tar -S --format=posix --owner=0 --group=0 -cf b.tar s; rm s
