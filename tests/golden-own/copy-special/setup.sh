rm d/.k; mkfifo -m 600 d/p; mknod -m 666 d/n c 1 3; cd d; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'; chmod 755 s
