head -c 10240 /dev/zero > zeros.tar; printf '\037\213\010\000' > cut.tgz; mkdir t d; echo 1 > t/1; tar -cf d/x.tar -C t 1; rm -r t
