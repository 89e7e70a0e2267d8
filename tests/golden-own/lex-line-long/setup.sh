{ echo 'FROM localhost:5000/golden/base:1'; printf 'LABEL a='; head -c 65528 /dev/zero | tr '\0' x; echo; } > ../Dockerfile
