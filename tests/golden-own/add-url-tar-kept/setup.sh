mkdir t; echo 1 > t/1; tar --owner=7 --group=8 -cf ../www/a.tar -C t 1; rm -r t
